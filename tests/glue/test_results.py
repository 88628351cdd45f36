"""Records on disk, and what they add up to."""

from __future__ import annotations

import dataclasses
import functools
import json
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from electra.config import FinetuneConfig
from electra.glue.files import Rows
from electra.glue.finetune import Start, open_start
from electra.glue.results import (
    append_result,
    describe,
    describe_protocol,
    identify,
    is_finished,
    read_results,
    result_line,
    results_table,
    summarize_results,
)
from electra.glue.tasks import TASKS
from electra.scores.metrics import AVERAGES
from electra.tokenizer.byte_level import Tokenizer
from tests.helpers.glue_files import checkpoint
from tests.helpers.records import record

__all__ = ["checkpoint"]


def rows(sha256: str) -> Rows:
    labels = np.array([0, 1])
    return Rows(path=Path("d.tsv"), first=["a", "b"], second=None, labels=labels, sha256=sha256, num_damaged=3)


@pytest.fixture
def start(checkpoint: Path) -> Start:
    return open_start(checkpoint)


def protocol(start: Start, config: FinetuneConfig | None = None, **changes: Any) -> dict[str, Any]:
    return describe_protocol(
        start, config or FinetuneConfig(), **{"precision": "fp32", "from_scratch": False, "mnli": None, **changes}
    )


def test_records_come_back_in_order_and_a_repeated_run_counts_once(tmp_path: Path) -> None:
    folder = tmp_path / "new"
    for seed, value in ((0, 0.5), (1, 0.6), (0, 0.7)):
        append_result(folder, record("rte", seed, accuracy=value))
    assert [(r["seed"], r["metrics"]["accuracy"]) for r in read_results(folder)] == [(0, 0.7), (1, 0.6)]
    assert read_results(tmp_path) == []


def test_a_record_is_on_disk_before_the_next_run_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda file: synced.append((tmp_path / "results.jsonl").read_text()))
    append_result(tmp_path, record("rte", 0, accuracy=0.5))
    assert [json.loads(line)["seed"] for line in synced] == [0]
    (tmp_path / "results.jsonl").unlink()
    (tmp_path / "results.jsonl").symlink_to("/dev/null")  # cannot be truncated; Python's error names no file
    with pytest.raises(OSError) as caught:
        append_result(tmp_path, record("rte", 0, accuracy=0.5))
    assert caught.value.filename == str(tmp_path / "results.jsonl")


def test_a_record_of_a_recipe_under_its_former_name_is_read_under_todays(tmp_path: Path) -> None:
    today = record("rte", 0, accuracy=0.5)
    append_result(tmp_path, {**today, "recipe": "report", "settings": {**today["settings"], "recipe": "report"}})
    assert read_results(tmp_path) == [today]


def test_a_line_cut_by_a_kill_is_dropped_and_never_glued_to_the_next(tmp_path: Path) -> None:
    append_result(tmp_path, record("rte", 0, accuracy=0.5))
    with open(tmp_path / "results.jsonl", "a") as file:
        file.write('{"run_id": "rte-1", "ta')
    assert [r["seed"] for r in read_results(tmp_path)] == [0]
    append_result(tmp_path, record("rte", 2, accuracy=0.5))
    assert [r["seed"] for r in read_results(tmp_path)] == [0, 2]
    assert all(json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines())


def append_many(folder: Path, first: int) -> None:
    for seed in range(first, first + 60):
        append_result(folder, {**record("rte", seed, accuracy=0.5), "padding": "x" * 9_000})


def test_processes_that_share_a_folder_lose_no_record_and_break_no_line(tmp_path: Path) -> None:
    with ProcessPoolExecutor(4, mp_context=multiprocessing.get_context("fork")) as pool:
        list(pool.map(functools.partial(append_many, tmp_path), (0, 60, 120, 180)))
    lines = (tmp_path / "results.jsonl").read_text().splitlines()
    assert sorted(json.loads(line)["seed"] for line in lines) == [*range(240)]


def test_the_protocol_is_named_by_all_that_decides_the_numbers_and_nothing_else(start: Start) -> None:
    same = [
        protocol(start),
        protocol(start, FinetuneConfig(micro_batch_size=4, device="cpu")),
        protocol(start, FinetuneConfig(precision="fp32")),  # what "auto" is here
        protocol(start._replace(folder=Path("elsewhere"))),
    ]
    assert len({p["protocol_id"] for p in same}) == 1
    other = [
        protocol(start, FinetuneConfig(learning_rate=1e-4)),
        protocol(start, from_scratch=True),
        protocol(start._replace(sha256="other")),
        protocol(start, mnli=start),
        protocol(start, precision="bf16"),
        protocol(start._replace(shape=dataclasses.replace(start.shape, num_heads=1))),
        protocol(start._replace(tokenizer=Tokenizer.from_merges([]))),
    ]
    assert len({p["protocol_id"] for p in [same[0], *other]}) == 1 + len(other)


def test_every_number_carries_its_protocol_in_words(start: Start) -> None:
    text = describe(protocol(start, FinetuneConfig(pair_swap=True, num_epochs=2), mnli=start))
    assert "(update 7, " in text
    assert f"mrpc, stsb, rte from MNLI model {start.folder}" in text
    assert "recipe mercier but num_epochs 2, pair_swap True; pair swap on; fp32; dev files" in text
    assert "dev files, model of the last update, every seed counted" in text
    assert describe(protocol(start, from_scratch=True)).startswith("random weights in the shape of ")
    assert "no task from another task's model" in describe(protocol(start))
    official = protocol(start, FinetuneConfig(recipe="official", learning_rate=2e-4))["overrides"]
    assert official["learning_rate"] == 2e-4
    assert official["pair_swap"] is False  # on in the recipe; this config was built without it


def test_a_run_is_named_by_protocol_task_seed_and_data(start: Start) -> None:
    def run_id(
        task: str = "cola", seed: int = 0, train: str = "t", dev: str = "d", scratch: bool = False, **more: Rows
    ) -> str:
        data = {"train": rows(train), "dev": rows(dev), **more}
        name: str = identify(protocol(start, from_scratch=scratch), TASKS[task], seed, data)["run_id"]
        return name

    assert run_id() == run_id(test=rows("x"))  # what is predicted besides does not change the run
    others = [run_id(task="rte"), run_id(seed=1), run_id(train="u"), run_id(dev="u"), run_id(scratch=True)]
    assert len({run_id(), *others}) == 6


def test_your_own_files_read_in_another_way_are_another_run_and_official_files_keep_their_name(start: Start) -> None:
    def run_id(name: str, read: dict[str, Any], how: dict[str, Any]) -> str:
        data = {"train": rows("t"), "dev": dataclasses.replace(rows("d"), **read)}
        task = dataclasses.replace(TASKS["cola"], name=name, **how)
        return str(identify(protocol(start), task, 0, data)["run_id"])

    read: list[dict[str, Any]] = [{"first": ["b", "a"]}, {"second": ["a", "b"]}, {"labels": np.array([1, 0])}]
    how: list[dict[str, Any]] = [{"labels": ("no", "yes")}, {"text_columns": ("text",)}, {"main_metric": "accuracy"}]
    ways = [({}, {}), *((change, {}) for change in read), *(({}, change) for change in how)]
    assert [len({run_id(name, *way) for way in ways}) for name in ("own", "cola")] == [7, 1]


def test_the_identity_records_digests_and_what_was_left_out_of_each_file(start: Start) -> None:
    data = identify(protocol(start), TASKS["cola"], 0, {"train": rows("t")})["data"]
    assert data == {"train": {"path": "d.tsv", "sha256": "t", "num_rows": 2, "num_damaged": 3}}


def test_a_run_is_finished_when_every_split_asked_for_was_predicted_and_a_model_asked_for_is_there(start, tmp_path):
    data = {"train": rows("t"), "dev": rows("d")}
    identity = identify(protocol(start), TASKS["cola"], 0, data)
    assert not is_finished(tmp_path, identity)
    found = {**record("cola", 0, matthews=0.1), **identity, "predictions": {"dev": "dev.tsv"}}
    append_result(tmp_path, found)
    assert not is_finished(tmp_path, identity)
    (tmp_path / "dev.tsv").touch()
    assert is_finished(tmp_path, identity)
    assert not is_finished(tmp_path, identify(protocol(start), TASKS["cola"], 0, data | {"test": rows("x")}))
    assert not is_finished(tmp_path, identity, with_model=True)
    append_result(tmp_path, {**found, "model": "x"})
    (tmp_path / "x").mkdir()
    assert not is_finished(tmp_path, identity, with_model=True)
    (tmp_path / "x" / "manifest.json").touch()
    assert is_finished(tmp_path, identity, with_model=True)


def test_the_line_of_a_run_warns_of_failure_and_skipped_updates() -> None:
    assert result_line(record("rte", 3, accuracy=0.527, f1=0.5)) == "rte seed 3: accuracy 52.70, f1 50.00 (12 s)"
    assert "WARNING: failed, the same answer for every input" in result_line(
        record("rte", 3, failed=True, accuracy=0.5)
    )
    skipped = {**record("rte", 3, accuracy=0.5), "num_skipped": 7}
    assert "WARNING: 7 of 60 updates skipped" in result_line(skipped)


def test_failed_runs_are_counted_and_said_in_the_table() -> None:
    runs = [record("rte", 0, accuracy=0.5, failed=True), record("rte", 1, accuracy=0.6), record("rte", 2, accuracy=0.7)]
    result = summarize_results(runs)["tasks"]["rte"]
    assert result["failed_seeds"] == [0]
    assert (result["metrics"]["accuracy"]["n"], result["metrics"]["accuracy"]["mean"]) == (3, pytest.approx(0.6))
    table = results_table(summarize_results(runs))
    assert "rte accuracy*                 3   60.00   10.00   60.00   70.00" in table
    assert "]  0.2 min, 1 failed\n" in table  # (12.3 + 1.2) / 60


def test_runs_on_other_files_are_rows_of_their_own_and_never_seeds_of_one_score() -> None:
    own = [record("own", 0, accuracy=0.5, f1=0.4), record("own", 1, files="xb", accuracy=0.7)]
    tasks = summarize_results(
        [*own, record("own", 0, files="ay", accuracy=0.9), record("own", 1, accuracy=0.6, f1=0.6)]
    )
    assert [task["metrics"]["accuracy"]["n"] for task in tasks["tasks"].values()] == [2, 1, 1]
    table = results_table(tasks)
    assert "own accuracy*                 2   55.00    7.07   55.00   60.00" in table
    assert [line.split("  on ")[1] for line in table.splitlines() if line.startswith("own acc")] == [
        "train.csv aaaaaaaa, dev.csv bbbbbbbb", "train.csv xxxxxxxx, dev.csv bbbbbbbb",
        "train.csv aaaaaaaa, dev.csv yyyyyyyy"]  # fmt: skip
    one = results_table(summarize_results(own[:1]))
    assert "  on " not in one
    assert "not measured" not in one  # no average has a task of one's own
    two_sets = summarize_results([*eight_tasks(0, 0.0), record("rte", 1, files="xb", accuracy=0.9)])
    assert two_sets["averages"]["AVG"]["by_seed"] == {}  # RTE has no one score


def eight_tasks(seed: int, shift: float) -> list[dict[str, Any]]:
    """Runs of the eight tasks of AVG; every metric is 0.5 + shift."""
    names: dict[str, list[str]] = {}
    for term in AVERAGES["GLUE*"].terms[:-1]:
        for entry in term:
            names.setdefault(entry.split(".")[0], []).append(entry.split(".")[1])
    return [record(task, seed, False, "ab", **dict.fromkeys(metrics, 0.5 + shift)) for task, metrics in names.items()]


def test_averages_pair_seed_k_of_every_task_and_spread_over_seeds() -> None:
    runs = [run for seed, shift in ((0, 0.0), (1, 0.1), (2, 0.2)) for run in eight_tasks(seed, shift)]
    average = summarize_results(runs)["averages"]["AVG"]
    assert average["by_seed"] == {0: pytest.approx(0.5), 1: pytest.approx(0.6), 2: pytest.approx(0.7)}
    assert (average["n"], average["mean"], average["sd"]) == (3, pytest.approx(0.6), pytest.approx(0.1))
    assert average["formula"].startswith("mean of 8: cola.matthews")
    star = summarize_results(runs)["averages"]["GLUE*"]["by_seed"][0]
    assert star == pytest.approx((8 * 0.5 + 40 / 71) / 9)


def test_a_seed_that_lacks_a_task_is_in_no_average() -> None:
    runs = eight_tasks(0, 0.0) + [run for run in eight_tasks(1, 0.1) if run["task"] != "rte"]
    averages = summarize_results(runs)["averages"]
    assert [*averages["AVG"]["by_seed"]] == [0]
    assert averages["GLUE"]["by_seed"] == {}
    assert averages["GLUE"]["missing"] == ["wnli"]
    table = results_table(summarize_results(runs))
    assert "GLUE                        not measured: no wnli" in table
    assert "AVG = mean of 8" in table
