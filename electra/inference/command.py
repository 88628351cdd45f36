"""Commands `detect` and `predict`: apply a trained model to texts from the command line or a file."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from electra import cli
from electra.glue.files import describe_rows, read_split
from electra.glue.tasks import SplitFile
from electra.inference import detect, open_classifier, open_detector, predict
from electra.inference.predict import DEMO_RUN, MODELS_DIR, Opened, Prediction
from electra.pretrain.example import marked_sentence
from electra.training.ranks import started


def _parser(command: str, description: str) -> cli.Parser:
    parser = cli.Parser(f"python -m electra {command}", description=description)
    parser.add_argument("texts", nargs="*", metavar="TEXT", help="one or more texts, in quotes")
    parser.add_argument("--json", action="store_true", help="for programs: one JSON object a text")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"), help="default auto")
    return parser


def main_detect(argv: Sequence[str]) -> None:
    """Run `python -m electra detect`."""
    parser = _parser("detect", "Mark the tokens of a text that look replaced.")
    parser.add_argument("--checkpoint", type=Path, help=f"a pre-training run (default {DEMO_RUN}, or mini)")
    asked = parser.parse_args(argv)
    if not asked.texts:
        raise ValueError('TEXT: expected a text, found none; try python -m electra detect "the chef ate the meal"')
    with started(asked.device) as ranks:
        model = open_detector(asked.checkpoint, ranks.device)
        print(f"model: {model.start.folder} (update {model.start.step:,})", file=sys.stderr)
        found = detect(asked.texts, model)
    width, colored = cli.line_width(), cli.is_colored()
    for text, tokens, probs in found:
        if asked.json:
            print(json.dumps({"text": text, "tokens": tokens, "replaced_probs": probs}))
        else:
            print(marked_sentence(tokens, tokens, probs, width=width, colored=colored))


def main_predict(argv: Sequence[str]) -> None:
    """Run `python -m electra predict`."""
    parser = _parser("predict", "Label or score texts with a fine-tuned model.")
    parser.add_argument("--text-pair", nargs="+", default=None, metavar="TEXT", help="second text of each")
    parser.add_argument("--file", type=Path, help="a .tsv, .csv or .jsonl with the columns of training")
    parser.add_argument("--checkpoint", type=Path, help=f"a fine-tuned model (default: the only one in {MODELS_DIR})")
    asked = parser.parse_args(argv)
    if bool(asked.texts or asked.text_pair) == bool(asked.file):
        raise ValueError(f"TEXT: expected texts or --file, found {'both' if asked.file else 'neither'}; give one")
    with started(asked.device) as ranks:
        model = open_classifier(asked.checkpoint, ranks.device)
        print(f"model: {model.start.folder} (update {model.start.step:,})", file=sys.stderr)
        texts, pairs = _read(model, asked.file) if asked.file else (asked.texts, asked.text_pair)
        found = predict(texts, pairs, model)
    for prediction in found:
        if asked.json:
            print(json.dumps({name: v for name, v in prediction._asdict().items() if v not in (None, {})}))
        else:
            print(prediction_line(prediction))


def _read(model: Opened, file: Path) -> tuple[list[str], list[str] | None]:
    """Return the first and second texts of a file; its text columns have the same names as in the training file."""
    task = dataclasses.replace(model.task, splits={"new": SplitFile(str(file.resolve()))})
    if not task.text_columns:
        raise ValueError(f"{model.start.folder}: an imported model names no text columns; give texts, not --file")
    rows = read_split(task, Path(), "new")
    print(describe_rows(task, rows), file=sys.stderr)
    return rows.first, rows.second


def prediction_line(prediction: Prediction) -> str:
    """Return a tab-separated line: labels with probabilities (highest first) or the score, then the texts."""
    if prediction.score is None:
        ranked = sorted(prediction.probs.items(), key=lambda item: -item[1])
        verdict = ", ".join(f"{name} {prob:.3f}" for name, prob in ranked)
    else:
        verdict = f"{prediction.score:.6g}"
    texts = [prediction.text] if prediction.text_pair is None else [prediction.text, prediction.text_pair]
    return "\t".join(map(cli.printable, [verdict, *texts]))
