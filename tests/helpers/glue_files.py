"""Small files for fine-tuning: a tokenizer, a pre-trained checkpoint, and tasks that a tiny model can learn."""

from __future__ import annotations

import dataclasses
import random
from pathlib import Path
from typing import cast

import numpy as np
import pytest

from electra.config import EncoderConfig
from electra.files import json_bytes, read_json
from electra.glue.predictions import write_predictions
from electra.glue.tasks import TASKS, Task
from electra.model.networks import Electra, initialize_weights
from electra.seeding import random_stream
from electra.tokenizer.byte_level import Tokenizer
from electra.training.checkpoint import save_checkpoint, torch_bytes

GOOD, BAD = ("good", "fine", "warm", "lovely"), ("bad", "dull", "cold", "awful")
THINGS = ("the film", "a book", "this day", "our house", "that song")


def reviews(num_rows: int, seed: int) -> list[tuple[str, int]]:
    """Sentences of different lengths, each with 1 for praise or 0."""
    draw = random.Random(seed)
    rows = []
    for _ in range(num_rows):
        praises = draw.random() < 0.5
        words = draw.choices(GOOD if praises else BAD, k=draw.randint(1, 4))
        rows.append((f"{' and '.join(THINGS[: draw.randint(1, 5)])} {'was' if len(words) < 2 else 'were'} "
                     + ", ".join(words), int(praises)))  # fmt: skip
    return rows


def make_checkpoint(run_dir: Path, *, num_layers: int = 2, seed: int = 0, shape: EncoderConfig | None = None) -> Path:
    """A run folder with one pre-training checkpoint, at its starting values, of update 7; tiny if no shape is named."""
    tokenizer = Tokenizer.train([text for text, _ in reviews(200, 1)], 300)
    tiny = EncoderConfig(embedding_size=16, hidden_size=24, num_layers=num_layers, num_heads=2, intermediate_size=40,
                         max_position_embeddings=128)  # fmt: skip
    shape = dataclasses.replace(shape or tiny, vocab_size=tokenizer.vocab_size)
    model = Electra(shape, 0.5)
    initialize_weights(model, random_stream(seed, "init"), 0.1)
    run_dir.mkdir(parents=True, exist_ok=True)
    tokenizer.save(run_dir / "tokenizer.json")
    pretrain = {"generator_size": 0.5}
    settings = {"encoder": dataclasses.asdict(shape), "pretrain": pretrain, "tokenizer": tokenizer.fingerprint}
    contents = {
        "config.json": json_bytes(settings),
        "tokenizer.json": (run_dir / "tokenizer.json").read_bytes(),
        "model.pt": torch_bytes(model.state_dict()),
    }
    save_checkpoint(run_dir / "step-0000007", contents, {"step": 7})
    assert read_json(run_dir / "step-0000007" / "config.json") == settings
    return run_dir


def write_reviews(path: Path, num_rows: int, seed: int, line: str, header: str = "") -> None:
    """Reviews in a task's format; `line` has places for number, text, label and the label's word."""
    rows = [
        line.format(number, *row, ("negative", "positive")[row[1]])
        for number, row in enumerate(reviews(num_rows, seed))
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{row}\n" for row in ([header] if header else []) + rows))


def make_glue(folder: Path) -> Path:
    """CoLA's, MNLI's and STS-B's files with few rows: 61 to learn from, 23 and 29 to be scored on."""
    for split, num_rows, seed in (("train", 61, 3), ("dev", 23, 5)):
        write_reviews(folder / f"CoLA/{split}.tsv", num_rows, seed, "x\t{2}\t\t{1}")
        write_reviews(folder / f"STS-B/{split}.tsv", num_rows, seed, "{1}\t{1}\t{2}", "sentence1\tsentence2\tscore")
    write_reviews(folder / "CoLA/test.tsv", 11, 7, "{0}\t{1}", "index\tsentence")
    header = "sentence1\tsentence2\tgold_label"
    for split, num_rows, seed in (("train", 61, 3), ("dev_matched", 23, 5), ("dev_mismatched", 29, 11)):
        write_reviews(folder / f"MNLI/{split}.tsv", num_rows, seed, "{1}\tIt was.\t{3}", header)
        text = (folder / f"MNLI/{split}.tsv").read_text()
        (folder / f"MNLI/{split}.tsv").write_text(
            text.replace("positive", "entailment").replace("negative", "contradiction")
        )
    return folder


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of `make_checkpoint`; not to be changed."""
    return make_checkpoint(tmp_path_factory.mktemp("pretrain") / "run")


@pytest.fixture(scope="session")
def glue_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data folder of `make_glue`; not to be changed."""
    return make_glue(tmp_path_factory.mktemp("data"))


@pytest.fixture
def small_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    """QQP and MNLI with test files of prime sizes, so that a submission takes no time."""
    for name, num_rows in (("qqp", 1_009), ("mnli", 499)):
        task = TASKS[name]
        splits = {split: file._replace(num_rows=(num_rows,)) for split, file in task.splits.items()}
        monkeypatch.setitem(cast(dict[str, Task], TASKS), name, dataclasses.replace(task, splits=splits))


SERVER_FILES = {
    "CoLA.tsv": ("cola", "test"), "SST-2.tsv": ("sst2", "test"), "MRPC.tsv": ("mrpc", "test"),
    "STS-B.tsv": ("stsb", "test"), "MNLI-m.tsv": ("mnli", "test_matched"), "MNLI-mm.tsv": ("mnli", "test_mismatched"),
    "QNLI.tsv": ("qnli", "test"), "QQP.tsv": ("qqp", "test"), "RTE.tsv": ("rte", "test"), "WNLI.tsv": ("wnli", "test"),
    "AX.tsv": ("mnli", "diagnostic"),
}  # fmt: skip
"""What the server wants: the file of which task's model on which rows. Source: gluebenchmark.com's FAQ."""


def drawn_predictions(name: str, num_rows: int) -> np.ndarray:
    """Predictions that differ from file to file: classes of the task, or scores from -1 to 6."""
    task = TASKS[SERVER_FILES[name][0]]
    draw = np.random.default_rng([*SERVER_FILES].index(name))
    return draw.integers(0, len(task.labels), num_rows) if task.labels else draw.uniform(-1, 6, num_rows)


def write_all(folder: Path, *, but: str = "", drawn: bool = False) -> dict[str, Path]:
    """A prediction file for each file of a submission, all of the last class or `drawn`."""
    sources = {}
    for name, (task_name, split) in SERVER_FILES.items():
        task = TASKS[task_name]
        num_rows = task.splits[split].num_rows[0]
        values = np.full(num_rows, task.num_outputs - 1) if task.labels else np.linspace(-1, 6, num_rows)
        values = drawn_predictions(name, num_rows) if drawn else values
        if name != but:
            sources[name] = folder / name
            write_predictions(sources[name], task, values, np.zeros(0), np.zeros((num_rows, 1)))
    return sources
