"""Each claim's verdict follows from its interval, and from nothing when nothing was measured."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from electra.report import findings as find
from electra.report.claims import claims
from electra.report.runs import Inputs, PretrainRun, Protocol, read_inputs
from tests.helpers.records import FIXTURES
from tests.report.test_scores import protocol


@pytest.fixture
def inputs() -> Inputs:
    return read_inputs([FIXTURES])


def run_named(inputs: Inputs, name: str) -> PretrainRun:
    return next(run for run in inputs.runs if run.name == name)


def with_scores(inputs: Inputs, shift: float) -> Inputs:
    """The recorded inputs with every metric of the full-length run moved."""
    first = inputs.protocols[0]
    moved = [{**r, "metrics": {name: v + shift for name, v in r["metrics"].items()}} for r in first.records]
    return inputs._replace(protocols=[dataclasses.replace(first, records=moved), *inputs.protocols[1:]])


def test_every_claim_of_the_list_is_there_with_the_comparison_that_decides_it():
    names = [claim.name for claim in claims()]
    assert sorted(set(names)) == [f"R{number}" for number in range(10, 20)]
    assert all(claim.text and claim.decided_by and claim.printed for claim in claims())


@pytest.mark.parametrize("claim", claims(), ids=lambda claim: f"{claim.name} {claim.text}")
def test_without_records_only_arithmetic_is_decided(claim):
    assert claim.find(Inputs([], [], [])).verdict == ("supported" if claim.name == "R17" else "not measured")


@pytest.mark.parametrize(
    ("shift", "verdict"), [(0.005, "supported"), (-0.02, "not supported"), (0.03, "not supported")]
)
def test_similar_means_the_whole_interval_is_within_a_point(inputs, shift, verdict):
    assert find.find_similar(with_scores(inputs, shift)).verdict == verdict


@pytest.mark.parametrize(("shift", "verdict"), [(0.0, "supported"), (-0.03, "not supported")])
def test_better_means_the_whole_interval_is_above(inputs, shift, verdict):
    assert find.better_than("AVG", 77.93)(with_scores(inputs, shift)).verdict == verdict


def test_one_seed_decides_nothing(inputs):
    first = inputs.protocols[0]
    single = dataclasses.replace(first, records=[r for r in first.records if r["seed"] == 0])
    alone = inputs._replace(protocols=[single])
    assert find.find_similar(alone).verdict == find.find_wnli(alone).verdict == "not measured"


def test_dynamics_are_similar_within_ten_percent_at_every_common_step(inputs):
    full = run_named(inputs, "full")
    assert find.find_dynamics(inputs).verdict == "supported"
    far = [{**r, "disc_auc": r["disc_auc"] * (0.88 if r["step"] == 500_000 else 1)} for r in full.evaluations]
    found = find.find_dynamics(Inputs([dataclasses.replace(full, evaluations=far)], [], []))
    assert (found.verdict, "(disc_auc)" in found.ours) == ("not supported", True)
    assert find.find_dynamics(Inputs([run_named(inputs, "sweep/g0.25-s0")], [], [])).verdict == "not measured"


def cuda_run(full: PretrainRun, rows: int, peak: float) -> PretrainRun:
    config = dataclasses.replace(full.config, micro_batch_size=rows)
    return dataclasses.replace(full, config=config, training=[{"step": 1, "peak_memory_bytes": int(peak)}])


@pytest.mark.parametrize(
    ("peaks", "verdict"),
    [({128: 15e9, 64: 8e9}, "supported"), ({128: 15e9, 64: 11.5e9}, "not supported"), ({128: 15e9}, "not measured")],
)
def test_memory_is_decided_by_measured_peaks_at_both_budgets(inputs, peaks, verdict):
    runs = [cuda_run(run_named(inputs, "full"), rows, peak) for rows, peak in peaks.items()]
    assert find.find_memory(Inputs(runs, [], [])).verdict == verdict


def test_days_are_compared_on_the_device_that_is_named_and_only_there(inputs):
    full = run_named(inputs, "full")
    assert find.find_days(Inputs([full], [], [])).verdict == "supported"
    other = dataclasses.replace(full, provenance={**full.provenance, "device": "NVIDIA H100"})
    found = find.find_days(Inputs([other], [], []))
    assert (found.verdict, "on 1 NVIDIA H100" in found.ours) == ("not measured", True)
    slow = dataclasses.replace(full, training=[{**r, "tokens_per_second": 4e4} for r in full.training])
    assert find.find_days(Inputs([slow], [], [])).verdict == "not supported"


def test_collapse_needs_two_seeds_a_size_and_a_difference_that_chance_does_not_explain(inputs):
    assert find.find_collapse(inputs).verdict == "not supported"  # 2 of 2 against 0 of 3: p 0.1
    sweep = [run for run in inputs.runs if run.name.startswith("sweep")]
    copies: list[PretrainRun] = []
    for run in sweep:
        for seed in (10, 11):
            config = dataclasses.replace(run.config, seed=run.config.seed + seed)
            copies.append(dataclasses.replace(run, config=config))
    found = find.find_collapse(Inputs([*sweep, *copies], [], []))
    assert (found.verdict, "6 of 6 collapse" in found.ours, "0 of 9 below" in found.ours) == ("supported", True, True)
    one = find.find_collapse(Inputs(sweep[:-1], [], []))
    assert (one.verdict, "fewer than two" in one.ours) == ("not measured", True)


def ablated(effect: float, **settings: Any) -> Protocol:
    return protocol(str(settings), {"cola": [0.5 + effect, 0.501 + effect, 0.502 + effect]}, **settings)


@pytest.mark.parametrize(("effect", "verdict"), [(0.003, "supported"), (0.02, "not supported")])
def test_robust_means_each_of_three_effects_is_within_a_point(effect, verdict):
    base = protocol("base", {"cola": [0.5, 0.501, 0.502]})
    found = [base, ablated(0.0, pair_swap=True), ablated(effect, pooling="first")]
    assert find.find_robust(Inputs([], found, [])).verdict == "not measured"
    found.append(ablated(0.001, layerwise_lr_top_exponent=2))
    assert find.find_robust(Inputs([], found, [])).verdict == verdict


def test_wnli_is_decided_against_the_majority_rate():
    below = protocol("a", {"wnli": [35 / 71, 36 / 71, 37 / 71]})
    assert find.find_wnli(Inputs([], [below], [])).verdict == "supported"
    at = protocol("b", {"wnli": [40 / 71, 40 / 71, 39 / 71]})
    assert find.find_wnli(Inputs([], [below, at], [])).verdict == "not supported"


def test_the_control_counts_at_equal_flops_only(inputs):
    assert find.find_control(inputs).ours.count("at 1.000 of its FLOPs") == 2  # the 12.5 % generator is cheaper
    fewer = [dataclasses.replace(p, records=[{**r, "checkpoint_step": 9_000} for r in p.records])
             if p.run and p.run.config.objective == "mlm" else p for p in inputs.protocols]  # fmt: skip
    assert find.find_control(inputs._replace(protocols=fewer)).verdict == "not measured"


def test_efficiency_is_over_every_baseline_with_a_figure(inputs):
    assert find.find_efficiency(inputs).verdict == "supported"
    full = run_named(inputs, "full")
    slow = dataclasses.replace(
        full, training=[{**r, "elapsed_seconds": r["elapsed_seconds"] * 4} for r in full.training]
    )
    dear = [dataclasses.replace(p, run=slow) if p.run is full else p for p in inputs.protocols]
    assert find.find_efficiency(Inputs([slow], dear, [])).verdict == "not supported"  # 3.8 x of DistilBERT, over 4
