"""The commands `python -m electra detect` and `predict`: a trained model on text from the command line or a file."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from electra import cli
from electra.glue.files import read_split
from electra.glue.tasks import SplitFile
from electra.inference.predict import (
    DEMO_RUN,
    MODELS_DIR,
    Opened,
    Prediction,
    detect,
    open_classifier,
    open_detector,
    predict,
    task_of,
)
from electra.pretrain.example import marked_sentence
from electra.training.ranks import started

_BOLD, _PLAIN = "\033[1m", "\033[0m"


def _parser(command: str, description: str) -> cli.Parser:
    parser = cli.Parser(f"python -m electra {command}", description=description)
    parser.add_argument("texts", nargs="*", metavar="TEXT", help="one or more texts, in quotes")
    parser.add_argument("--json", action="store_true", help="for programs: one JSON object a text")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"), help="default auto")
    return parser


def _introduce(model: Opened) -> None:
    print(f"model: {model.start.folder} (update {model.start.step:,})", file=sys.stderr)


def _print_json(records: Iterable[Mapping[str, Any]]) -> None:
    for record in records:
        text = json.dumps(record, ensure_ascii=False)
        print("".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in text))  # control characters as escapes


def main_detect(argv: Sequence[str]) -> None:
    """`python -m electra detect`."""
    parser = _parser("detect", "Which tokens of a text look replaced?")
    parser.add_argument("--checkpoint", type=Path, help=f"a pre-training run (default {DEMO_RUN})")
    asked = parser.parse_args(argv)
    if not asked.texts:
        raise ValueError('TEXT: expected a text, found none; python -m electra detect "the chef ate the meal"')
    with started(asked.device) as ranks:
        model = open_detector(asked.checkpoint, ranks.device)
        _introduce(model)
        found = detect(asked.texts, model)
    if asked.json:
        _print_json(detection._asdict() for detection in found)
        return
    for detection in found:
        tokens = detection.tokens
        width, colored = cli.line_width(), cli.is_colored()
        print(marked_sentence(tokens, tokens, detection.replaced_probs, width=width, colored=colored))


def main_predict(argv: Sequence[str]) -> None:
    """`python -m electra predict`."""
    parser = _parser("predict", "What a fine-tuned model says of new text.")
    parser.add_argument("--text-pair", nargs="+", default=None, metavar="TEXT", help="the second text of each")
    parser.add_argument("--file", type=Path, help="a .tsv, .csv or .jsonl with named columns, instead of texts")
    parser.add_argument("--text-column", default="", help="of --file (default: that of the training file)")
    parser.add_argument("--text-pair-column", default="", help="of --file, for pairs (default: as in training)")
    parser.add_argument("--checkpoint", type=Path, help=f"a model of train_glue.py --save-models (default: the only "
                        f"one in {MODELS_DIR})")  # fmt: skip
    asked = parser.parse_args(argv)
    if bool(asked.texts) == bool(asked.file):
        raise ValueError(f"TEXT: expected texts or --file, found {'both' if asked.file else 'neither'}; give one")
    with started(asked.device) as ranks:
        model = open_classifier(asked.checkpoint, ranks.device)
        _introduce(model)
        texts, pairs = _read(model, asked) if asked.file else (asked.texts, asked.text_pair)
        found = predict(texts, pairs, model)
    if asked.json:
        _print_json({k: v for k, v in p._asdict().items() if v not in (None, {})} for p in found)
        return
    for prediction in found:
        print(prediction_line(prediction, colored=cli.is_colored()))


def _read(model: Opened, asked: argparse.Namespace) -> tuple[list[str], list[str] | None]:
    """The texts of a file, under the columns asked for or those the model was trained on."""
    task = task_of(model)
    columns = tuple(filter(None, (asked.text_column, asked.text_pair_column))) or task.text_columns
    if not columns:
        raise ValueError(f"{model.start.folder}: expected the columns of {asked.file} by name, found none in the "
                         "model's folder; add --text-column")  # fmt: skip
    file = SplitFile(str(asked.file.resolve()))
    rows = read_split(dataclasses.replace(task, text_columns=columns, splits={"new": file}), Path(), "new")
    return rows.first, rows.second


def prediction_line(prediction: Prediction, *, colored: bool = False) -> str:
    """Labels from the likeliest with their probabilities, or the score, then the text; with tabs between.

    Args:
        colored: the verdict in a terminal's bold.
    """
    ranked = sorted(prediction.probs.items(), key=lambda item: -item[1])
    is_score = prediction.score is not None
    said = [f"{prediction.score:.3f}"] if is_score else [f"{cli.printable(name)} {p:.3f}" for name, p in ranked]
    said = [f"{_BOLD}{said[0]}{_PLAIN}", *said[1:]] if colored else said
    texts = [prediction.text] if prediction.text_pair is None else [prediction.text, prediction.text_pair]
    return "\t".join([", ".join(said), *map(cli.printable, texts)])
