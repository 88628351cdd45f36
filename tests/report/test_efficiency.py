"""Device-days and petaflop/s-days of runs: what is counted, times what, and what is counted once."""

from __future__ import annotations

import dataclasses

import pytest

from electra.model.flops import device_tflops
from electra.report.efficiency import spent, table_1, table_3, total_days
from electra.report.literature import table
from electra.report.runs import Inputs, PretrainRun, Protocol, read_inputs
from tests.helpers.records import FIXTURES, record


@pytest.fixture
def inputs() -> Inputs:
    return read_inputs([FIXTURES])


def on(run: PretrainRun, device: str, num_devices: int = 1) -> PretrainRun:
    return dataclasses.replace(run, device=device, num_devices=num_devices)


def full(inputs: Inputs) -> PretrainRun:
    return next(run for run in inputs.runs if run.name == "full")


def days(run: PretrainRun, step: int | None = None) -> float:
    found = run.elapsed_days(step)
    assert found is not None
    return found


def test_device_days_are_days_on_the_clock_times_devices(inputs: Inputs):
    run = full(inputs)
    (row,) = spent(Inputs([on(run, "x", 3)], [], []))
    assert row.days == {"full": pytest.approx(3 * days(run))}
    assert "| ours: overall | – | overlap 0.00000 | 10.94" in table_1(Inputs([on(run, "x", 3)], [], []))


def test_the_devices_of_table_3_have_their_printed_speeds():
    printed = {row["device"].value: row["tflops"].number for row in table("3").values() if "device" in row}
    assert {*printed} == {"GTX 1080", "P600", "V100", "TPU", "RTX 3090"}
    assert {device: device_tflops(device) for device in printed} == printed


@pytest.mark.parametrize(("device", "tflops"), [("NVIDIA A100-SXM4-80GB", 19.5), ("NVIDIA H200", 67)])
def test_the_hardware_rule_is_days_times_devices_times_nominal_speed_times_a_third(inputs, device, tflops):
    run = on(full(inputs), device, 2)
    assert f" | {days(run) * 2 * tflops / 1000 * 0.33:.6f} | " in table_3(Inputs([run], [], []))
    assert "| no nominal speed of unknown known |" in table_3(Inputs([on(run, "unknown")], [], []))


def test_fine_tuning_counts_training_and_evaluation():
    runs = [record("cola", seed, matthews=0.5) | {"train_seconds": 60.0, "evaluate_seconds": 7.0} for seed in (0, 1)]
    (row,) = spent(Inputs([], [Protocol(runs)], []))
    assert [*row.days.values()] == [pytest.approx(2 * 67 / 86_400)]


def test_a_sweep_is_counted_up_to_the_update_it_is_compared_at_and_shared_runs_once_at_their_longest(inputs: Inputs):
    early = [dataclasses.replace(p, records=[{**r, "checkpoint_step": 5_000} for r in p.records])
             if p.run and p.run.name.startswith("sweep") else p for p in inputs.protocols]  # fmt: skip
    rows = spent(inputs._replace(protocols=early))
    found = {row.title: row.days for row in rows}
    sweep, first = found["generator size (4.2), pre-training"], found["reproduction (4.1), pre-training"]
    shared = sweep.keys() & first.keys()
    assert shared == {"sweep/g0.25-s0", "sweep/g0.25-s1"}
    for run in inputs.runs:
        if run.name in shared:
            assert sweep[run.name] == days(run, 5_000) < first[run.name] == days(run)
    twice = sum(value for row in rows for value in row.days.values()) - total_days(rows)
    tuned = found["generator size (4.2), fine-tuning"]
    shared_tuning = tuned.keys() & found["reproduction (4.1), fine-tuning"].keys()
    assert twice == pytest.approx(sum(sweep[name] for name in shared) + sum(tuned[p] for p in shared_tuning))


def test_a_run_without_a_clock_is_in_no_sum_of_days(inputs: Inputs):
    silent = dataclasses.replace(full(inputs), training=[])
    assert spent(Inputs([silent], [], [])) == []
    assert "| ours: overall | – | overlap 0.00000 | not measured |" in table_1(Inputs([silent], [], []))


def test_the_score_beside_a_runs_cost_is_that_of_the_recipe_as_it_stands(inputs: Inputs):
    (line,) = [line for line in table_3(inputs).splitlines() if line.startswith("| ours: full")]
    assert " 0.0527 | 0.96 |" in line
    for change in ({"overrides": {"pooling": "first"}}, {"checkpoint_step": 62_500}, {"from_scratch": True}):
        records = [{**record, **change} for record in inputs.protocols[0].records]
        other = inputs._replace(protocols=[Protocol(records, inputs.protocols[0].run)])
        (without,) = [line for line in table_3(other).splitlines() if line.startswith("| ours: full")]
        assert " 0.0527 " not in without
    first = Protocol([record for record in inputs.protocols[0].records if record["task"] == "cola"], inputs.runs[0])
    assert table_3(inputs._replace(protocols=[first, *inputs.protocols])) == table_3(inputs)
