"""Devices, precisions, micro-batches, work ahead, stop signals, peak memory."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest
import torch
from torch import nn

from electra.training import devices
from electra.training.devices import StopRequests, ahead, micro_batches, resolve_precision, seed_dropout
from tests.conftest import ROOT

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("asked", "device", "has_bf16", "dtype"),
    [
        ("fp32", "cpu", True, torch.float32),
        ("bf16", "cpu", False, torch.bfloat16),
        ("fp16", "cpu", True, torch.float16),
        ("auto", "cpu", True, torch.bfloat16),
        ("auto", "cpu", False, torch.float32),  # where bf16 would be emulated
        ("auto", "cuda", True, torch.bfloat16),
        ("auto", "cuda", False, torch.float16),
    ],
)
def test_a_named_precision_is_what_it_says_and_auto_is_what_the_hardware_multiplies(
    monkeypatch, asked, device, has_bf16, dtype
):
    monkeypatch.setattr(devices, "has_bf16", lambda device: has_bf16)
    assert resolve_precision(asked, torch.device(device)) == dtype


@pytest.mark.parametrize("size", [0, 1, 3, 4, 100])
def test_micro_batches_cover_the_rows_once_and_in_order(size):
    pieces = list(micro_batches(2, 9, size))
    assert [row for start, end in pieces for row in range(start, end)] == list(range(2, 9))
    assert all(end - start <= (size or 7) for start, end in pieces)
    assert size or pieces == [(2, 9)]


def test_dropout_is_a_function_of_its_place():
    dropout, x = nn.Dropout(0.5), torch.ones(31)

    def draw(*indices: int) -> torch.Tensor:
        seed_dropout(0, *indices)
        return dropout(x)

    assert torch.equal(draw(3, 0, 1), draw(3, 0, 1))
    assert len({tuple(draw(*indices).tolist()) for indices in ((3, 0, 1), (4, 0, 1), (3, 1, 1), (3, 0, 2))}) == 4


def test_work_ahead_keeps_the_order_and_runs_one_item_early():
    made, began = [], threading.Event()

    def make(item: int) -> int:
        made.append(item)
        if item == 1:
            began.set()
        return item * item

    results = ahead(make, range(4))
    assert next(results) == 0
    assert began.wait(5)  # item 1 is being made while the caller holds item 0
    assert list(results) == [1, 4, 9]
    assert made == [0, 1, 2, 3]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_is_a_request_and_a_second_exits_at_once(number, code, monkeypatch, capfd):
    exits: list[int] = []
    monkeypatch.setattr(os, "_exit", exits.append)
    stop = StopRequests(max_hours=0)
    assert stop.exit_code == 0
    os.kill(os.getpid(), number)
    assert (stop.exit_code, exits) == (code, [])
    assert "a second signal exits at once" in capfd.readouterr().err
    os.kill(os.getpid(), number)
    assert exits == [code]


PEAKS = """import numpy, torch
from electra.training.devices import peak_memory_bytes
cpu = torch.device("cpu")
before = peak_memory_bytes(cpu)
numpy.ones(50_000_000)  # 0.4 GB, freed at once
print(before, peak_memory_bytes(cpu))"""


def test_memory_on_a_cpu_is_the_peak_of_the_process_and_not_of_the_one_that_started_it():
    parents = np.ones(100_000_000)  # 0.8 GB
    done = subprocess.run([sys.executable, "-c", PEAKS], capture_output=True, text=True, check=True, cwd=ROOT)
    before, after = map(int, done.stdout.split())
    assert 0 < before < parents.nbytes
    assert after - before == pytest.approx(400_000_000, rel=0.05)
