"""`python -m electra cost`: what is counted, what a run measured, and what is not known."""

from __future__ import annotations

import dataclasses
import re
import shutil
import statistics

import pytest

from electra.config import EncoderConfig
from electra.files import read_json, read_records, write_json
from electra.model.flops import parameter_blocks
from electra.report import cost
from electra.report.cost import main
from electra.report.runs import read_inputs
from tests.helpers.records import FIXTURES


def test_the_small_size_has_its_parameters_and_its_flops_by_both_conventions(capsys):
    main([])
    out = capsys.readouterr().out
    num_parameters = sum(parameter_blocks(EncoderConfig(), 0.25, "rtd").values())
    assert f"| all, shared blocks once | {num_parameters:,} |" in out
    assert re.search(r"the release's count +7.896e\+07 +1.294e\+18 +0.01497", out)
    assert re.search(r"matrix products, backward = 2 x forward +7.019e\+07 +1.150e\+18 ", out)
    assert "hours     not measured: give --run" in out
    assert "memory    not measured" in out


def test_a_run_brings_its_settings_its_speed_its_device_and_its_peak(capsys):
    main(["--run", str(FIXTURES / "full")])
    out = capsys.readouterr().out
    assert out.startswith("full on 1 NVIDIA GeForce RTX 3090: objective rtd, generator 25 %, 1,000,000 updates of 128 ")
    records = read_records(FIXTURES / "full" / "metrics.jsonl")
    speeds = [record["tokens_per_second"] for record in records if record.get("tokens_per_second")]
    speed = statistics.median(speeds)
    assert f"{speed:,.0f}" != f"{statistics.mean(speeds):,.0f}"
    days = 1_000_000 * 128 * 128 / speed / 86_400
    assert f"hours     {24 * days:,.2f} at {speed:,.0f} tokens/s" in out
    rule = f"{days * 35 / 1000 * 0.33:.4g} pfs-days by Mercier's rule: {days:.4g} days x 1 x 35 TFLOP/s x 0.33"
    assert f"hardware  {rule}" in out


@pytest.mark.parametrize(("micro_batch_size", "num_rows"), [(0, 32), (7, 7), (64, 32)])
def test_the_peak_of_one_device_is_the_largest_that_was_logged(micro_batch_size, num_rows):
    (run,) = read_inputs([FIXTURES / "full"]).runs
    config = dataclasses.replace(run.config, micro_batch_size=micro_batch_size)
    training = [{"step": step, "peak_memory_bytes": peak} for step, peak in ((1, 5e9), (2, None), (3, 7e9), (4, 6e9))]
    run = dataclasses.replace(run, config=config, training=training, num_devices=4)
    assert f"peak 7.00 GB with {num_rows} rows at a time on " in cost.memory_line(run)


def test_what_a_run_did_not_record_is_noted(capsys, tmp_path):
    shutil.copytree(FIXTURES / "full", tmp_path / "run")
    settings = read_json(tmp_path / "run" / "config.json")
    del settings["pretrain"]["batch_size"]
    write_json(tmp_path / "run" / "config.json", settings)
    main(["--run", str(tmp_path)])
    assert "run: batch_size not recorded by this run, shown at today's default" in capsys.readouterr().err
    (tmp_path / "run" / "provenance.json").unlink()
    shutil.copytree(FIXTURES / "glue", tmp_path / "glue")
    with pytest.raises(ValueError, match=r"--run: expected one run in .*, found 0; .*/run: run left out: .*provenance"):
        main(["--run", str(tmp_path)])


def test_a_folder_of_several_runs_is_refused():
    with pytest.raises(ValueError, match=r"--run: expected one run in .*, found 7"):
        main(["--run", str(FIXTURES)])
