"""`python -m electra cost`: counted, measured or said not to be."""

from __future__ import annotations

import dataclasses
import re
import statistics

import pytest
import torch

from electra.config import EncoderConfig
from electra.files import read_lines
from electra.model.flops import parameter_blocks
from electra.report import cost
from electra.report.cost import main
from electra.report.runs import read_inputs
from tests.helpers.records import FIXTURES


def test_the_small_size_has_its_parameters_and_its_flops_by_every_convention(capsys):
    main([])
    out = capsys.readouterr().out
    num_parameters = sum(parameter_blocks(EncoderConfig(), 0.25, "rtd").values())
    assert f"all, shared blocks once                   {num_parameters:,}" in out
    assert re.search(r"the release's count +7.896e\+07 +1.294e\+18 +0.01497", out)
    assert re.search(r"the same, look-ups free +4.771e\+07 +7.817e\+17 ", out)
    assert re.search(r"matrix products, backward = 2 x forward +7.019e\+07 +1.150e\+18 ", out)


def test_what_was_neither_given_nor_measured_says_so_and_the_latency_is_measured(capsys):
    main(["--size", "demo"])
    out = capsys.readouterr().out
    assert "hours     not measured: give --tokens-per-second" in out
    assert "hardware  not measured" in out
    assert "memory    peak not measured; Mercier's budgets: 6, 11, 16, 24 GB" in out
    assert re.search(
        r"latency   one row of 32 tokens, float32, cpu \(.*\): median \d+\.\d\d ms \(.* to .*, n 20\)", out
    )


def test_hours_and_the_hardware_rule_at_a_given_rate(capsys):
    main(["--tokens-per-second", "50000", "--tflops", "35"])
    out = capsys.readouterr().out
    days = 1_000_000 * 128 * 128 / 50_000 / 86_400
    assert f"hours     {24 * days:.2f} at 50,000 tokens/s (given)" in out
    assert f"hardware  {days * 35 / 1000 * 0.33:.4g} pfs-days" in out


def test_a_run_brings_its_settings_its_speed_its_device_and_its_peak(capsys):
    main(["--run", str(FIXTURES / "full")])
    out = capsys.readouterr().out
    assert out.startswith("full: objective rtd, generator 25 %, 1,000,000 updates of 128 rows x 128")
    records, _ = read_lines(FIXTURES / "full" / "metrics.jsonl")
    speeds = [record["tokens_per_second"] for record in records if record.get("tokens_per_second")]
    speed = statistics.median(speeds)
    assert f"{speed:,.0f}" != f"{statistics.mean(speeds):,.0f}"
    days = 1_000_000 * 128 * 128 / speed / 86_400
    rate = f"{speed:,.0f} tokens/s (median of full on 1 NVIDIA GeForce RTX 3090)"
    assert f"hours     {24 * days:,.2f} at {rate}" in out
    cost = days * 35 / 1000 * 0.33
    assert f"hardware  {cost:.4g} pfs-days by Mercier's rule: {days:.4g} days x 1 x 35 TFLOP/s x 0.33" in out
    assert "peak 9.41 GB at 128 rows on NVIDIA GeForce RTX 3090 (full), which fits 11 GB, 16 GB, 24 GB" in out


def test_a_given_nominal_speed_wins_over_the_devices(capsys):
    main(["--run", str(FIXTURES / "full"), "--tflops", "71"])
    assert " days x 1 x 71 TFLOP/s x 0.33" in capsys.readouterr().out


@pytest.mark.parametrize(("micro_batch_size", "num_rows"), [(0, 32), (7, 7)])
def test_the_peak_stands_beside_the_rows_that_one_device_held(micro_batch_size, num_rows):
    (run,) = read_inputs([FIXTURES / "full"]).runs
    config = dataclasses.replace(run.config, micro_batch_size=micro_batch_size)
    run = dataclasses.replace(run, config=config, provenance={**run.provenance, "num_devices": 4})
    assert f"peak 9.41 GB at {num_rows} rows on " in cost.memory_line(run)


def test_generator_size_row_length_and_batch_are_flags(capsys):
    main("--size mini --generator-size 0.5 --seq-length 64 --batch-size 7 --num-train-steps 3".split())
    out = capsys.readouterr().out
    assert "generator 50 %, 3 updates of 7 rows x 64 = 1,344 tokens" in out
    assert "one row of 64 tokens" in out


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--run", str(FIXTURES / "full"), "--size", "mini"], "expected its own settings alone, found --size too"),
        (["--run", str(FIXTURES)], "--run: expected one run in .*, found 7"),
        (["--tokens-per-second", "0"], "--tokens-per-second: expected a number above 0, found 0.0"),
        (["--tflops", "-1"], "--tflops: expected a number above 0"),
        (["--seq-length", "2"], "--seq-length: expected"),
    ],
)
def test_what_cannot_be_costed_is_refused(argv, message):
    with pytest.raises(ValueError, match=message):
        main(argv)


def test_a_latency_is_the_time_of_one_forward_pass(monkeypatch):
    seen = []
    monkeypatch.setattr(
        cost.Discriminator, "forward", lambda self, ids: seen.append(tuple(ids.shape)) or torch.zeros(1)
    )
    shape = EncoderConfig(hidden_size=8, num_heads=2, num_layers=1, intermediate_size=8, vocab_size=11)
    assert len(cost.row_latencies(shape, 17, torch.device("cpu"))) == 20
    assert seen == [(1, 17)] * 23
