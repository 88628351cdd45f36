"""The folder of small recorded runs and results, and result records made for a test."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from electra.config import FinetuneConfig
from electra.glue.tasks import TASKS
from electra.report.runs import PretrainRun, Protocol
from tests.conftest import ROOT

FIXTURES = ROOT / "tests" / "fixtures" / "records"


def record(task: str, seed: int, failed: bool = False, files: str = "ab", **metrics: Any) -> dict[str, Any]:
    """A whole record of one run of protocol "p"; its main metric is the first one.

    Args:
        files: two characters, of which the digests of its train and dev file are made.
    """
    data = {split: {"path": f"{split}.csv", "sha256": name * 64, "num_rows": 7, "num_damaged": 0, "num_empty": 0}
            for split, name in zip(("train", "dev"), files, strict=True)}  # fmt: skip
    facts = {
        **{"checkpoint": "runs/x", "checkpoint_step": 10, "checkpoint_sha256": "c" * 64, "from_scratch": False},
        **{"init_from_mnli": None, "recipe": "mercier", "overrides": {}, "precision": "bf16", "protocol_id": "p"},
        **{"settings": dataclasses.asdict(FinetuneConfig()), "provenance": {"device": "CPU", "commit": "1"}},
        **{"labels": ["no", "yes"], "predictions": {"dev": "x.tsv"}, "model": None, "num_updates": 60},
        **{"num_skipped": 0, "train_loss": 0.5, "train_seconds": 12.3, "evaluate_seconds": 1.2},
    }
    run = {"run_id": f"{task}-{files}-{seed}", "task": task, "seed": seed, "data": data, "failed": failed}
    return {**facts, **run, "metrics": metrics, "main_metric": next(iter(metrics))}


def protocol(
    name: str, scores: dict[str, list[float]], run: PretrainRun | None = None, files: str = "ab", **settings: Any
) -> Protocol:
    """Records of one protocol, seeds from 0, each with the main metric of its task."""
    changes = {"protocol_id": name, "overrides": settings, "settings": dataclasses.asdict(FinetuneConfig(**settings))}
    records = [
        {**record(task, seed, False, files, **{TASKS[task].main_metric: score}), **changes}
        for task, values in scores.items()
        for seed, score in enumerate(values)
    ]
    return Protocol(records, run)


def rewrite(path: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Pass each record of a JSONL file through `change`."""
    records = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps(change(record)) + "\n" for record in records))
