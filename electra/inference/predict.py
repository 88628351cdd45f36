"""Use a trained model: `detect` replaced tokens, `predict` labels or scores, `embed` texts."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from itertools import repeat
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from electra.cli import build
from electra.config import DEMO, FinetuneConfig
from electra.files import FormatError
from electra.glue.batches import collate, encode, evaluation_batches, pack
from electra.glue.finetune import PREDICT_ROWS, Start, open_start, predict_rows
from electra.glue.tasks import Task
from electra.model.networks import Discriminator, SequenceClassifier, make_embeddings
from electra.model.transformer import Encoder
from electra.scores.metrics import Array
from electra.training import checkpoint as saved

DEMO_RUN = Path(str(DEMO["run_dir"]))
MODELS_DIR = Path("runs/glue/models")  # folder in which `train_glue.py --save-models` saves models
MAKE_ONE = "make one with python train_glue.py --task NAME --save-models"


class Opened(NamedTuple):
    """A model ready for use, as `open_detector`, `open_encoder` and `open_classifier` return it."""

    start: Start  # folder, step, shape and tokenizer of the checkpoint
    config: Mapping[str, Any]  # the checkpoint's config.json
    model: nn.Module  # in evaluation mode
    device: torch.device

    @property
    def task(self) -> Task:
        """The task of a fine-tuned model; its `splits` are empty. The task of an imported model has no text columns."""
        return Task(
            name=self.config["task"], title=self.config["task"], label_column="", metrics=(), splits={},
            text_columns=tuple(self.config.get("text_columns") or ()), labels=tuple(self.config["labels"]),
            score_range=tuple(self.config["score_range"]),
        )  # fmt: skip


class Detection(NamedTuple):
    """A text, its tokens, and the discriminator's probability for each token."""

    text: str
    tokens: list[str]  # as text, without special tokens
    replaced_probs: list[float]  # for each token, the probability that it was replaced


class Prediction(NamedTuple):
    """The label or score that a fine-tuned model gives to a text or to a pair of texts."""

    text: str
    text_pair: str | None
    label: str | None  # the most probable label; None if the task has scores
    probs: dict[str, float]  # {label: probability}, in the model's order; empty if the task has scores
    score: float | None  # in the unit of the training file, not clipped; None if the task has labels


class Embedding(NamedTuple):
    """A text, its tokens, and the vector of each token from the last layer."""

    text: str
    tokens: list[str]  # as text, without special tokens
    vectors: Array  # (tokens, D) float32; D is the width of the encoder

    @property
    def mean(self) -> Array:
        """The mean of the vectors over all tokens, (D,) float32."""
        return self.vectors.mean(axis=0)


def open_detector(checkpoint: Path | str | None = None, device: torch.device | str = "cpu") -> Opened:
    """Open the discriminator of a run, checkpoint or shipped model.

    None means the demo's run, or the shipped model if there is no such run. Raises FileNotFoundError if there is no
    checkpoint, FormatError if it is damaged or has no discriminator with a head.
    """
    start, config = _open(checkpoint)
    if "discriminator.output.weight" not in saved.read_tensors(start.folder / saved.MODEL_FILE):
        found = f"a model of {config['task'] or 'another task'}" if "finetune" in config else "none"
        raise FormatError(f"{start.folder}: expected a discriminator, found {found}; name a run of train_pretrain.py")
    model = Discriminator(start.shape, make_embeddings(start.shape))
    saved.load_weights(start.folder, model, "discriminator.")
    return Opened(start, config, model.to(device).eval(), torch.device(device))


def open_encoder(checkpoint: Path | str | None = None, device: torch.device | str = "cpu") -> Opened:
    """Open the encoder of a pre-trained or fine-tuned checkpoint. Arguments and errors are those of `open_detector`."""
    start, config = _open(checkpoint)
    model = Encoder(start.shape, make_embeddings(start.shape))
    saved.load_encoder_weights(start.folder, model)
    return Opened(start, config, model.to(device).eval(), torch.device(device))


def open_classifier(checkpoint: Path | str | None = None, device: torch.device | str = "cpu") -> Opened:
    """Open a fine-tuned model; None means the only model in `MODELS_DIR`. Errors are those of `open_detector`."""
    start, config = _open(checkpoint or _only_model())
    if "finetune" not in config:
        raise FormatError(f"{start.folder}: expected a fine-tuned model, found a pre-trained one; {MAKE_ONE}")
    settings = config["finetune"]
    model = SequenceClassifier(start.shape, len(config["labels"]) or 1, settings["pooling"], settings["head"])
    saved.load_weights(start.folder, model)
    return Opened(start, config, model.to(device).eval(), torch.device(device))


def _open(checkpoint: Path | str | None) -> tuple[Start, Mapping[str, Any]]:
    start = open_start(saved.default_checkpoint(DEMO_RUN) if checkpoint is None else Path(checkpoint))
    return start, saved.read_settings(start.folder)


def _only_model() -> Path:
    found = sorted(file.parent for file in MODELS_DIR.glob(f"[!.]*/{saved.MANIFEST_FILE}"))
    if not found:
        raise FileNotFoundError(f"{MODELS_DIR}: expected a fine-tuned model, found none; {MAKE_ONE}")
    if len(found) > 1:
        names = ", ".join(folder.name for folder in found)
        raise FormatError(f"{MODELS_DIR}: expected one model, found {names}; name one (--checkpoint)")
    return found[0]


def _check(texts: Sequence[str], model: Opened, kind: type[nn.Module]) -> None:
    if not isinstance(model.model, kind):
        raise ValueError(f"model: expected {kind.__name__}, found {type(model.model).__name__}; open that kind")
    if isinstance(texts, str) or not len(texts):
        found = "one string" if isinstance(texts, str) else "an empty one"
        raise ValueError(f"texts: expected a list of texts, found {found}; put each text in a list")
    if damaged := [n for n, text in enumerate(texts, 1) if text.encode(errors="ignore").decode() != text]:
        raise ValueError(f"text {damaged[0]}: expected UTF-8, found other bytes; convert it")


@torch.no_grad()
def _token_outputs(model: Opened, texts: Sequence[str], kind: type[nn.Module]) -> Iterator[tuple[list[str], Array]]:
    """Yield the tokens of each text and the model's float32 output for each token; a long text is cut into rows."""
    _check(texts, model, kind)
    tokenizer, size = model.start.tokenizer, saved.max_seq_length(model.config) - 2
    ids = [tokenizer.encode(text) for text in texts]
    if empty := [number for number, row in enumerate(ids, 1) if not row]:
        raise ValueError(f"text {empty[0]}: expected at least one token, found none; leave it out")
    special = tokenizer.special_ids
    rows = [[special.cls, *row[i : i + size], special.sep] for row in ids for i in range(0, len(row), size)]
    features = pack(rows, [len(row) for row in rows], tokenizer, size + 2)
    outputs: list[Array] = [np.empty(0)] * len(rows)
    for numbers in evaluation_batches(features.lengths, PREDICT_ROWS):
        batch = collate(features, numbers, model.device)
        found = model.model(batch.input_ids, batch.attention_mask)
        for number, row in zip(numbers, found.float().cpu().numpy(), strict=True):
            outputs[number] = row[1 : len(rows[number]) - 1]
    pieces = iter(outputs)
    for row in ids:
        yield [tokenizer.token(i) for i in row], np.concatenate([next(pieces) for _ in range(0, len(row), size)])


def detect(texts: Sequence[str], model: Opened | None = None) -> list[Detection]:
    """Return for each token the probability that it was replaced. None means the model of `open_detector()`.

    A long text is cut into rows. ValueError if there are no texts, one without tokens, or another kind of model.
    """
    outputs = _token_outputs(model or open_detector(), texts, Discriminator)
    return [
        Detection(text, tokens, (1 / (1 + np.exp(-logits))).tolist())
        for text, (tokens, logits) in zip(texts, outputs, strict=True)
    ]


def embed(texts: Sequence[str], model: Opened | None = None) -> list[Embedding]:
    """Return the vector of each token; `model` is from `open_encoder`. Long texts and errors are as in `detect`."""
    outputs = _token_outputs(model or open_encoder(), texts, Encoder)
    return [Embedding(text, *found) for text, found in zip(texts, outputs, strict=True)]


def predict(
    texts: Sequence[str], text_pairs: Sequence[str] | None = None, model: Opened | None = None
) -> list[Prediction]:
    """Return labels with probabilities, or scores, as `train_glue.py` computes them for a dev file.

    Texts are cut off at the length of fine-tuning. `text_pairs` holds the second texts, if the task has pairs of texts.
    `model` is from `open_classifier`. ValueError for another kind of model, no texts or a wrong number of second texts.
    """
    model = model or open_classifier()
    _check(texts, model, SequenceClassifier)
    _check_pairs(model, texts, text_pairs)
    assert isinstance(model.model, SequenceClassifier)  # from `open_classifier`
    task, second = model.task, None if text_pairs is None else [text.strip(" ") for text in text_pairs]
    first, length = [text.strip(" ") for text in texts], saved.max_seq_length(model.config)
    features = encode(first, second, model.start.tokenizer, length)
    if features.num_cut:
        cut = features.num_cut, len(texts), length
        logging.getLogger(__name__).warning("%d of %d rows were cut to %d tokens", *cut)
    outputs = predict_rows(model.model, features, build(FinetuneConfig, model.config["finetune"]), model.device)
    values, probs = task.predictions(outputs), torch.from_numpy(outputs).softmax(dim=1).tolist()
    found = []
    for text, pair, value, row in zip(texts, text_pairs or repeat(None, len(texts)), values, probs, strict=True):
        label, score = (None, float(value)) if task.is_regression else (task.labels[value], None)
        found.append(Prediction(text, pair, label, dict(zip(task.labels, row, strict=False)), score))
    return found


def _check_pairs(model: Opened, texts: Sequence[str], text_pairs: Sequence[str] | None) -> None:
    columns, found = model.task.text_columns, 1 if text_pairs is None else 2
    if columns and len(columns) != found:
        remedy = "add the second (--text-pair)" if found == 1 else "drop the second"
        raise ValueError(f"{model.start.folder}: expected {' and '.join(columns)}, found {found} text(s); {remedy}")
    if text_pairs is not None and (isinstance(text_pairs, str) or len(text_pairs) != len(texts)):
        number = "one string" if isinstance(text_pairs, str) else len(text_pairs)
        raise ValueError(f"text pairs: expected {len(texts)}, one for each text, found {number}; give as many")
