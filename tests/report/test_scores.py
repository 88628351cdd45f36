"""Rows of scores: which protocols stand where, and what is paired with what."""

from __future__ import annotations

import dataclasses
import math
import statistics

import numpy as np
import pytest
from scipy import stats

from electra.report.groups import sweeps
from electra.report.runs import Inputs, Protocol, read_inputs
from electra.report.scores import (
    collapse,
    comparison_tables,
    own_tasks_table,
    paired,
    pretraining_seeds,
    table_2,
    table_4,
)
from tests.helpers.records import FIXTURES, protocol, record


def test_differences_are_paired_over_common_seeds_with_students_interval():
    first = protocol("a", {"cola": [0.50, 0.54, 0.60, 0.1]})
    second = protocol("b", {"cola": [0.51, 0.57, 0.62]})
    found = paired(first, second, "cola")
    low, high = stats.t.interval(0.95, 2, loc=0.02, scale=np.std([0.01, 0.03, 0.02], ddof=1) / np.sqrt(3))
    assert found == (3, pytest.approx(0.02), pytest.approx(low), pytest.approx(high))
    assert paired(first, second, "rte") is None
    apart = [(first, [("y", protocol("c", {"rte": [0.5]}))])]
    assert comparison_tables("Ablations", "x", apart) == "Ablations: not measured."


def test_the_mean_over_tasks_is_paired_over_seeds_that_have_every_common_task():
    first = protocol("a", {"cola": [0.5, 0.5, 0.5], "rte": [0.6, 0.6]})
    second = protocol("b", {"cola": [0.52, 0.54, 0.9], "rte": [0.6, 0.64], "wnli": [0.1]})
    found = paired(first, second, "cola", "rte")
    assert found is not None
    assert (found.n, found.mean) == (2, pytest.approx((0.01 + 0.04) / 2))


def test_a_failed_seed_is_counted_and_named():
    records = protocol("a", {"cola": [0.5, 0.0]}).records
    failed = Protocol([{**record, "failed": record["seed"] == 1} for record in records])
    assert "| 25.00 ± 35.36 (2), 1 failed |" in table_2(Inputs([], [failed], []))


def test_collapse_is_what_the_watch_declares_and_too_few_evaluations_say_nothing():
    runs = {run.name: run for run in read_inputs([FIXTURES]).runs}
    assert collapse(runs["sweep/g0.5-s0"]) == "collapsed, declared at update 5,000"
    assert collapse(runs["sweep/g0.25-s0"]) == "no collapse in 7 evaluations to 10,000"
    first = runs["sweep/g0.25-s0"].evaluations
    three, two = (dataclasses.replace(runs["sweep/g0.25-s0"], evaluations=first[:end]) for end in (4, 3))
    assert collapse(three) == "no collapse in 3 evaluations to 4,000"
    assert collapse(two) == "not measured: 2 evaluations after warm-up"
    blind = dataclasses.replace(three, evaluations=[{**record, "disc_auc_high": None} for record in first])
    assert collapse(blind) == "not measured: 0 evaluations after warm-up"


@pytest.mark.parametrize("files", ["xb", "ay"])
def test_scores_on_other_files_are_never_paired(files: str):
    base = protocol("a", {"cola": [0.5, 0.6], "rte": [0.5, 0.6]})
    other = protocol("b", {"cola": [0.6, 0.7]}, pooling="first")
    moved = protocol("b", {"cola": [0.6, 0.7]}, files=files, pooling="first")
    assert paired(base, other, "cola") is not None
    assert paired(base, moved, "cola") is None
    assert paired(base, moved, "cola", "rte") is None


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
    twice = [p for p in inputs.protocols if p.run and p.run.name == "sweep/g0.25-s0"] * 2
    assert pretraining_seeds(inputs._replace(protocols=twice)) == "Pre-training seeds: not measured."


def test_tasks_that_are_not_glues_have_a_table_of_their_own_with_a_row_for_each_data_set():
    own = [Protocol([record("own", seed, files=files, f1=score) for seed, score in enumerate(scores)], None, files)
            for files, scores in (("ab", [0.5, 0.7]), ("xb", [0.9]))]  # fmt: skip
    table = own_tasks_table(Inputs([], own, [])) + comparison_tables("", "", [(own[0], [*zip("xy", own, strict=True)])])
    assert "| ours: runs/x, update 10; recipe mercier; ab | own | f1 | 60.00 ± 14.14 (2) |" in table
    assert "| ours: runs/x, update 10; recipe mercier; xb | own | f1 | 90.00 (1) |" in table
    assert table.endswith("| own task |\n| --- | --- |\n| x | +0.00 [+0.00, +0.00] (2) |")
    assert own_tasks_table(read_inputs([FIXTURES])) == ""


def test_every_run_of_a_sweep_has_a_row_in_table_4():
    inputs = read_inputs([FIXTURES])
    (sweep,) = sweeps(inputs.runs)
    assert all(f": sweep/g{size}-s0, " in table_4(sweep, inputs) for size in (0.125, 0.25, 0.5))
    assert all(f"| ours: {p.name} |" in table_2(inputs) for p in inputs.protocols)  # nothing is shown elsewhere only
    found = [p for p in inputs.protocols if p.run in sweep]
    late = [
        p if p.run is sweep[0] else Protocol([{**r, "checkpoint_step": 15_000} for r in p.records], p.run)
        for p in found
    ]
    assert f"| {sweep[0].last_step:,}, not fine-tuned at 15,000 |" in table_4(sweep, inputs._replace(protocols=late))
