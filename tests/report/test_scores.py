"""Rows of scores: which protocols stand where, and what is paired with what."""

from __future__ import annotations

import dataclasses
import math
import statistics
from typing import Any

import numpy as np
import pytest
from scipy import stats

from electra.config import FinetuneConfig
from electra.report.runs import Inputs, PretrainRun, Protocol, read_inputs
from electra.report.scores import (
    ablations,
    collapse,
    controls,
    own_tasks_table,
    paired,
    paired_mean,
    pretraining_seeds,
    reproductions,
    sweep_protocols,
    sweeps,
    table_2,
    table_4,
)
from tests.helpers.records import FIXTURES, record

METRICS = {"cola": "matthews", "rte": "accuracy", "wnli": "accuracy"}


def protocol(
    name: str, scores: dict[str, list[float]], run: PretrainRun | None = None, files: str = "ab", **settings: Any
) -> Protocol:
    """Runs of one protocol, seeds from 0, each with one metric a task."""
    changes = {"protocol_id": name, "overrides": settings, "settings": dataclasses.asdict(FinetuneConfig(**settings))}
    records = [
        {**record(task, seed, False, files, **{METRICS[task]: score}), **changes}
        for task, values in scores.items()
        for seed, score in enumerate(values)
    ]
    return Protocol(records, run)


def test_differences_are_paired_over_common_seeds_with_students_interval():
    first = protocol("a", {"cola": [0.50, 0.54, 0.60, 0.1]})
    second = protocol("b", {"cola": [0.51, 0.57, 0.62]})
    found = paired(first, second, "cola")
    low, high = stats.t.interval(0.95, 2, loc=0.02, scale=np.std([0.01, 0.03, 0.02], ddof=1) / np.sqrt(3))
    assert found == (3, pytest.approx(0.02), pytest.approx(low), pytest.approx(high))
    assert paired(first, second, "rte") is None


def test_the_mean_over_tasks_is_paired_over_seeds_that_have_every_common_task():
    first = protocol("a", {"cola": [0.5, 0.5, 0.5], "rte": [0.6, 0.6]})
    second = protocol("b", {"cola": [0.52, 0.54, 0.9], "rte": [0.6, 0.64], "wnli": [0.1]})
    found = paired_mean(first, second)
    assert found is not None
    assert (found.n, found.mean) == (2, pytest.approx((0.01 + 0.04) / 2))


def test_an_ablation_is_a_base_and_all_that_differ_from_it_in_one_setting():
    base = protocol("base", {"cola": [0.5]})
    pooling, swap = protocol("p", {"cola": [0.5]}, pooling="first"), protocol("s", {"cola": [0.5]}, pair_swap=True)
    both = protocol("ps", {"cola": [0.5]}, pooling="first", pair_swap=True)
    ((found, variants),) = ablations(Inputs([], [swap, base, pooling, both], []))
    assert found is base
    assert [(v.setting, v.base_value, v.value) for v in variants] == [
        ("pair_swap", False, True), ("pooling", "mean", "first")]  # fmt: skip
    text = table_2(Inputs([], [swap, base, pooling, both], []))
    assert text.count("| ours: ") == 2  # the base, and what is no ablation; variants have their own table


def test_protocols_of_different_checkpoints_are_no_ablation():
    base, other = protocol("base", {"cola": [0.5]}), protocol("p", {"cola": [0.5]}, pooling="first")
    other = Protocol([{**record, "checkpoint_sha256": "b" * 64} for record in other.records])
    assert ablations(Inputs([], [base, other], [])) == []


def test_a_failed_seed_is_counted_and_named():
    records = protocol("a", {"cola": [0.5, 0.0]}).records
    failed = Protocol([{**record, "failed": record["seed"] == 1} for record in records])
    assert "| 25.00 ± 35.36 (2), 1 failed |" in table_2(Inputs([], [failed], []))


def test_a_sweep_is_runs_that_differ_in_generator_size_and_seed_alone():
    inputs = read_inputs([FIXTURES])
    (sweep,) = sweeps(inputs.runs)
    assert [(run.config.generator_size, run.config.seed) for run in sweep] == [
        (0.125, 0), (0.25, 0), (0.25, 1), (0.5, 0), (0.5, 1)]  # fmt: skip
    step, protocols = sweep_protocols(sweep, inputs)
    assert (step, len(protocols)) == (10_000, 3)
    one_size = [run for run in sweep if run.config.generator_size == 0.25]
    assert sweeps(one_size) == []
    other_rate = dataclasses.replace(sweep[0], config=dataclasses.replace(sweep[0].config, learning_rate=1e-3))
    assert sweeps([other_rate, *one_size]) == []


def test_a_sweep_is_compared_at_the_update_that_most_runs_were_fine_tuned_at():
    inputs = read_inputs([FIXTURES])
    (sweep,) = sweeps(inputs.runs)
    late = Protocol([{**r, "checkpoint_step": 15_000} for r in inputs.protocols[5].records], sweep[0])
    assert sweep_protocols(sweep, inputs._replace(protocols=[*inputs.protocols, late]))[0] == 10_000


def test_other_generator_sizes_of_a_sweep_stand_in_table_4_and_in_no_table_of_the_first_experiment():
    inputs = read_inputs([FIXTURES])
    (sweep,) = sweeps(inputs.runs)
    shown = [line for line in table_2(inputs).splitlines() if "sweep/" in line]
    assert len(shown) > 0
    assert all("sweep/g0.25" in line for line in shown)
    assert all(f": sweep/g{size}-s0, " in table_4(sweep, inputs) for size in (0.125, 0.25, 0.5))
    assert {run.config.generator_size for run in reproductions(inputs) if run in sweep} == {0.25}


def test_collapse_is_what_the_watch_declares_and_too_few_evaluations_say_nothing():
    runs = {run.name: run for run in read_inputs([FIXTURES]).runs}
    assert collapse(runs["sweep/g0.5-s0"]) == "collapsed, declared at update 5,000"
    assert collapse(runs["sweep/g0.25-s0"]) == "no collapse in 7 evaluations to 10,000"
    first = runs["sweep/g0.25-s0"].evaluations
    three, two = (dataclasses.replace(runs["sweep/g0.25-s0"], evaluations=first[:end]) for end in (4, 3))
    assert collapse(three) == "no collapse in 3 evaluations to 4,000"
    assert collapse(two) == "not measured: 2 evaluations after warm-up"


def test_controls_share_shape_and_fine_tuning_with_the_pair_they_control():
    found = dict((base.name, [name for name, _ in others]) for base, others in controls(read_inputs([FIXTURES])))
    assert found["sweep/g0.25-s0, update 10,000 (50 %); recipe mercier"] == [
        "control-mlm, update 10,942 (54.71 %); recipe mercier",
        "random start in the shape of sweep/g0.25-s0; recipe mercier",
    ]
    assert not any(name.startswith("full") for name in found)  # nothing of its shape controls it


def test_every_fine_tuned_checkpoint_of_a_pair_is_controlled():
    inputs = read_inputs([FIXTURES])
    (base,) = [base for base, _ in controls(inputs) if base.name.startswith("sweep/g0.25-s0, ")]
    early = Protocol([{**r, "checkpoint_step": 5_000, "protocol_id": "early"} for r in base.records], base.run)
    found = controls(inputs._replace(protocols=[*inputs.protocols, early]))
    at = {protocol.step: len(others) for protocol, others in found if protocol.run is base.run}
    assert at == {10_000: 2, 5_000: 1}  # the masked-LM control cost as much as the later one


def test_a_variant_of_a_checkpoint_does_not_take_the_place_of_what_is_controlled():
    inputs = read_inputs([FIXTURES])
    names = [base.name for base, _ in controls(inputs)]
    (last,) = [p for p in inputs.protocols if p.name == names[0]]
    settings = {**last.facts["settings"], "pooling": "first"}
    changed = {"settings": settings, "overrides": {"pooling": "first"}, "protocol_id": "variant"}
    variant = Protocol([{**record, **changed} for record in last.records], last.run)
    assert [base.name for base, _ in controls(inputs._replace(protocols=[*inputs.protocols, variant]))] == names


def test_a_masked_lm_control_of_other_rows_is_none_though_it_cost_the_same():
    inputs = read_inputs([FIXTURES])

    def with_half_the_rows(protocol: Protocol) -> Protocol:
        run = protocol.run
        if not run or run.config.objective != "mlm":
            return protocol
        config = dataclasses.replace(run.config, batch_size=run.config.batch_size // 2)
        records = [{**r, "checkpoint_step": 2 * r["checkpoint_step"]} for r in protocol.records]
        return Protocol(records, dataclasses.replace(run, config=config))

    other_rows = inputs._replace(protocols=[with_half_the_rows(p) for p in inputs.protocols])
    assert any("control-mlm" in name for _, others in controls(inputs) for name, _ in others)
    assert not any("control-mlm" in name for _, others in controls(other_rows) for name, _ in others)


@pytest.mark.parametrize("files", ["xb", "ay"])
def test_scores_on_other_files_are_never_paired(files: str):
    base = protocol("a", {"cola": [0.5, 0.6], "rte": [0.5, 0.6]})
    other = protocol("b", {"cola": [0.6, 0.7]}, pooling="first")
    moved = protocol("b", {"cola": [0.6, 0.7]}, files=files, pooling="first")
    assert paired(base, other, "cola") is not None
    assert paired(base, moved, "cola") is None
    assert paired_mean(base, moved) is None


def test_a_masked_lm_control_that_cost_more_compute_is_none():
    inputs = read_inputs([FIXTURES])
    longer = [
        Protocol([{**r, "checkpoint_step": 11_200} for r in p.records], p.run)
        if p.run and p.run.config.objective == "mlm" else p for p in inputs.protocols
    ]  # fmt: skip
    names = [name for _, others in controls(inputs._replace(protocols=longer)) for name, _ in others]
    assert names
    assert not any("control-mlm" in name for name in names)


def test_the_spread_of_pretraining_seeds_stands_beside_what_fine_tuning_alone_would_give():
    inputs = read_inputs([FIXTURES])
    (line,) = [line for line in pretraining_seeds(inputs).splitlines() if line.startswith("| sweep/")]
    runs = [[score * 100 for score in p.scores("stsb").values()] for p in inputs.protocols
            if p.run and p.run.name.startswith("sweep/g0.25") and p.step == 10_000
            and not p.facts["from_scratch"]]  # fmt: skip
    means = [statistics.mean(run) for run in runs]
    alone = math.sqrt(statistics.mean(statistics.variance(run) / len(run) for run in runs))
    ratio = statistics.variance(means) / alone**2
    p_value = stats.f.sf(ratio, len(runs) - 1, sum(len(run) - 1 for run in runs))
    assert f"| {statistics.mean(means):.2f} ± {statistics.stdev(means):.2f} ({len(runs)});" in line
    assert f"; ± {alone:.2f} from fine-tuning alone, p {p_value:.2g} |" in line
    assert line.startswith("| sweep/g0.25-s0, sweep/g0.25-s1, update 10,000; recipe mercier |")
    assert pretraining_seeds(inputs._replace(protocols=[])) == "Pre-training seeds: not measured."


@pytest.mark.parametrize("change", ["precision", "shards", "tokenizer", "batch_size"])
def test_what_differs_in_more_than_its_pre_training_is_no_control(change):
    inputs = read_inputs([FIXTURES])
    (base, others), *_ = [pair for pair in controls(inputs) if pair[0].name.startswith("sweep/g0.25-s0")]
    control, random_start = (protocol for _, protocol in others)
    assert control.run

    def altered(protocol: Protocol) -> Protocol:
        run, records = protocol.run, protocol.records
        assert run
        if change == "precision":
            return Protocol([{**record, "precision": "fp32"} for record in records], run)
        if change == "batch_size":
            return Protocol(records, dataclasses.replace(run, config=dataclasses.replace(run.config, batch_size=7)))
        return Protocol(records, dataclasses.replace(run, settings={**run.settings, change: {"other": "one"}}))

    for removed in (control, random_start):
        protocols = [altered(p) if p is removed else p for p in inputs.protocols]
        left = {b.name: [name for name, _ in others] for b, others in controls(inputs._replace(protocols=protocols))}
        stays = removed is random_start and change in ("shards", "batch_size")  # random weights have read nothing
        assert (removed.name in left[base.name]) == stays


def test_tasks_that_are_not_glues_have_a_table_of_their_own_with_a_row_for_each_data_set():
    rows = [Protocol([record("own", seed, files=files, f1=score) for seed, score in enumerate(scores)], None, files)
            for files, scores in (("ab", [0.5, 0.7]), ("xb", [0.9]))]  # fmt: skip
    table = own_tasks_table(Inputs([], rows, []))
    assert "| ours: runs/x, update 10; recipe mercier; ab | own | f1 | 60.00 ± 14.14 (2) |" in table
    assert "| ours: runs/x, update 10; recipe mercier; xb | own | f1 | 90.00 (1) |" in table
    assert own_tasks_table(read_inputs([FIXTURES])) == ""
