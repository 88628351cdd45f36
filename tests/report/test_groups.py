"""Groups of runs and protocols: sweeps, reproductions, ablations, controls."""

from __future__ import annotations

import dataclasses

import pytest

from electra.report.groups import ablations, controls, in_order, reproductions, sweep_protocols, sweeps
from electra.report.runs import Inputs, Protocol, read_inputs
from tests.helpers.records import FIXTURES, protocol


@pytest.fixture
def inputs() -> Inputs:
    return read_inputs([FIXTURES])


def test_a_sweep_is_runs_that_differ_in_generator_size_and_seed_alone(inputs: Inputs):
    (sweep,) = sweeps(inputs.runs)
    assert [(run.config.generator_size, run.config.seed) for run in sweep] == [
        (0.125, 0), (0.25, 0), (0.25, 1), (0.5, 0), (0.5, 1)]  # fmt: skip
    one_size = [run for run in sweep if run.config.generator_size == 0.25]
    assert sweeps(one_size) == []
    other_rate = dataclasses.replace(sweep[0], config=dataclasses.replace(sweep[0].config, learning_rate=1e-3))
    assert sweeps([other_rate, *one_size]) == []


def test_a_sweep_is_compared_at_the_update_that_most_runs_were_fine_tuned_at(inputs: Inputs):
    (sweep,) = sweeps(inputs.runs)
    late = Protocol([{**r, "checkpoint_step": 15_000} for r in inputs.protocols[5].records], sweep[0])
    step, protocols = sweep_protocols(sweep, inputs._replace(protocols=[*inputs.protocols, late]))
    assert (step, len(protocols)) == (10_000, 3)


def test_other_generator_sizes_of_a_sweep_are_not_in_the_first_experiment(inputs: Inputs):
    (sweep,) = sweeps(inputs.runs)
    assert {run.config.generator_size for run in reproductions(inputs) if run in sweep} == {0.25}


def test_an_ablation_is_a_base_and_all_that_differ_from_it_in_one_setting():
    base = protocol("base", {"cola": [0.5]})
    pooling, swap = protocol("p", {"cola": [0.5]}, pooling="first"), protocol("s", {"cola": [0.5]}, pair_swap=True)
    both = protocol("ps", {"cola": [0.5]}, pooling="first", pair_swap=True)
    inputs = Inputs([], [swap, base, pooling, both], [])
    assert ablations(inputs) == [(base, [("`pair_swap`: False -> True", swap), ("`pooling`: mean -> first", pooling)])]
    assert in_order(inputs.protocols) == inputs.protocols  # rows of one checkpoint stay as they come
    other = Protocol([{**record, "checkpoint_sha256": "b" * 64} for record in pooling.records])
    assert ablations(Inputs([], [base, other], [])) == []


def test_controls_share_shape_and_fine_tuning_with_the_pair_they_control(inputs: Inputs):
    found = {base.name: [name for name, _ in others] for base, others in controls(inputs)}
    assert found["sweep/g0.25-s0, update 10,000 (50 %); recipe mercier"] == [
        "control-mlm, update 10,942 (54.71 %); recipe mercier",
        "random start in the shape of sweep/g0.25-s0; recipe mercier",
    ]
    assert not any(name.startswith("full") for name in found)  # nothing of its shape controls it
    (base,) = [base for base, _ in controls(inputs) if base.name.startswith("sweep/g0.25-s0, ")]
    other = {"checkpoint_step": 5_000, "checkpoint_sha256": "early"}
    early = Protocol([{**record, **other} for record in base.records], base.run)
    settings = {**base.facts["settings"], "pooling": "first"}
    variant = Protocol([{**r, "settings": settings, "overrides": {"pooling": "first"}} for r in base.records], base.run)
    more = controls(inputs._replace(protocols=[*inputs.protocols, early, variant]))
    at = {base.step: len(others) for base, others in more if base.name.startswith("sweep/g0.25-s0, ")}
    assert at == {10_000: 2, 5_000: 1}  # the masked-LM control cost as much as the later one


@pytest.mark.parametrize("change", ["precision", "shards", "tokenizer", "longer", "half the rows"])
def test_what_differs_in_more_than_its_pre_training_is_no_control(inputs: Inputs, change: str):
    (base, others), *_ = [pair for pair in controls(inputs) if pair[0].name.startswith("sweep/g0.25-s0")]
    for _, control in others:
        run, records = control.run, list(control.records)
        assert run
        if change == "precision":
            records = [{**record, "precision": "fp32"} for record in records]
        elif change == "shards":
            run = dataclasses.replace(run, shards="other")
        elif change == "tokenizer":
            run = dataclasses.replace(run, tokenizer="other")
        elif change == "longer":
            records = [{**record, "checkpoint_step": 11_200} for record in records]
        else:  # half the rows and twice the updates cost the same
            config = dataclasses.replace(run.config, batch_size=run.config.batch_size // 2)
            run = dataclasses.replace(run, config=config)
            records = [{**record, "checkpoint_step": 2 * record["checkpoint_step"]} for record in records]
        altered = Protocol(records, run)
        changed = inputs._replace(protocols=[altered if p is control else p for p in inputs.protocols])
        left = {b.name: [other for _, other in found] for b, found in controls(changed)}
        is_random = control.facts["from_scratch"]  # random weights have learned from nothing
        assert (altered in left[base.name]) == (is_random and change not in ("precision", "tokenizer"))
