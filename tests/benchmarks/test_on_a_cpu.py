"""What is written for a GPU runs on a CPU, with the demo's size."""

from __future__ import annotations

import io
import json
import sys
from functools import partial
from itertools import islice
from types import ModuleType

import pytest
import torch

from electra.data.demo_text import standard_library_documents
from electra.glue.results import read_results
from tests.benchmarks import bench_pretrain, rented_gpu
from tests.helpers.glue_files import make_glue

SIZE = "--size demo --eval-rows 4 --batch-size 4 --num-threads 1"


def call(script: ModuleType, monkeypatch: pytest.MonkeyPatch, *words: object) -> None:
    """Call a script's `main` with these words."""
    monkeypatch.setattr(sys, "argv", ["script", *map(str, words)])
    script.main()


@pytest.mark.slow
@pytest.mark.oracle
@pytest.mark.timeout(600)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch.compile's own
def test_every_part_of_the_benchmark_for_a_gpu_runs(tiny_data, tmp_path, monkeypatch):
    pytest.importorskip("transformers")
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))  # no C++ compiler: 10 s, not 100
    words = ("--launches", "--turns", 1, "--updates", 1, "--precision", "fp32", f"--flags={SIZE}")
    call(bench_pretrain, monkeypatch, "peer", "profile", "memory", "--data", tiny_data, *words, "--out", tmp_path / "r")
    record = json.loads((tmp_path / "r").read_text())
    names = {"ours", "peer", "peer, compiled", *(f"ours, {name}" for name in bench_pretrain.LAUNCHES)}
    assert all(record["peer"][name]["tokens_per_second"]["n"] == 1 for name in names)
    assert record["peer"]["ours"]["mfu"] > 0
    assert record["memory"].keys() == {"128", "64", "32", "16"}


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_script_for_a_rented_gpu_goes_on_where_it_stopped(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(rented_gpu, "PIECE_BYTES", 10**6)
    lines = [json.dumps({"text": text}) for text in islice(standard_library_documents(), 200)]
    (tmp_path / "my.jsonl").write_text("\n".join(lines))
    work, out = tmp_path / "work", tmp_path / "out"
    words = ("--work", work, "--out", out, "--stop-after", 9, f"--flags={SIZE}")
    call(rented_gpu, monkeypatch, *words, "--text", tmp_path / "my.jsonl", "--more-text")
    assert not (work / "shards").exists()
    call(rented_gpu, monkeypatch, *words, "--minutes", 0)
    assert "update 0 of 9; next: the same command" in capfd.readouterr().out
    call(rented_gpu, monkeypatch, *words)
    model = torch.load(io.BytesIO(b"".join(piece.read_bytes() for piece in sorted(out.glob("weights.*")))))
    assert model["generator.bias"].dtype == torch.float16
    assert len([*out.glob("weights.*")]) > 1
    glue = ("--glue", make_glue(tmp_path), "--tasks", "stsb", "--glue-flags=--allow-other-sizes --num-epochs 1")
    call(rented_gpu, monkeypatch, *words, *glue)
    assert sorted(record["seed"] for record in read_results(out)) == [0, 1, 2, 3, 4]
    assert "done; next: fetch" in capfd.readouterr().out
