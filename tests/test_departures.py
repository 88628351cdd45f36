"""The register of departures names files, code and tests that exist; pins of entries that no other test holds."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

from electra.config import SIZES, EncoderConfig, PretrainConfig
from electra.glue.tasks import TASKS
from electra.model.networks import SequenceClassifier
from electra.model.transformer import Dropout
from tests.conftest import ROOT, tiny_shape

REGISTER = (ROOT / "electra" / "DEPARTURES.md").read_text()
ENTRIES = re.split(r"^(?=\*\*\d+\. )", REGISTER, flags=re.M)[1:]


def test_entries_are_numbered_in_order_and_complete():
    assert [int(entry[2:].split(".")[0]) for entry in ENTRIES] == list(range(1, len(ENTRIES) + 1))
    for entry in ENTRIES:
        assert re.search(r"\*Theirs:\*.*\*Ours:\*.*\n\*Where:\* `.*\*Test:\* `test_.*\*Effect:\* \w", entry), entry[:60]


def test_every_place_in_the_code_exists():
    places = re.findall(r"`([\w/]+\.py)(?::(\w+))?`", " ".join(re.findall(r"\*Where:\*.*?\*Test:\*", REGISTER)))
    assert len(places) >= len(ENTRIES)
    for file, symbol in places:
        path = ROOT / "electra" / file if (ROOT / "electra" / file).exists() else ROOT / file
        assert re.search(rf"^ *(def |class )?{symbol}\b", path.read_text(), re.M), f"{file}: no {symbol}"


def test_every_test_exists():
    sources = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    assert [name for name in re.findall(r"`(test_\w+)`", REGISTER) if f"def {name}(" not in sources] == []


@pytest.mark.parametrize("size", SIZES)
def test_heads_are_64_wide_but_in_the_demo(size: str):
    shape = EncoderConfig(**{name: SIZES[size][name] for name in ("hidden_size", "num_heads") if name in SIZES[size]})
    width = 32 if size == "demo" else 64
    assert shape.hidden_size == shape.num_heads * width
    half = shape.generator(0.5)
    assert half.hidden_size == half.num_heads * width


def test_an_mlp_head_drops_before_each_dense_layer():
    calls: list[str] = []
    model = SequenceClassifier(tiny_shape(), 2, "first", "mlp")
    assert model.dense is not None
    for name, module in (("dropout", model.dropout), ("dense", model.dense), ("output", model.output)):
        module.register_forward_hook(lambda *_, name=name: calls.append(name))
    model(torch.tensor([[1, 5, 2]]), torch.ones(1, 3, dtype=torch.bool), torch.zeros(1, 3, dtype=torch.int64))
    assert calls == ["dropout", "dense", "dropout", "output"]
    assert isinstance(model.dropout, Dropout)


def test_mnlis_classes_are_in_the_order_of_the_hugging_face_data_set():
    assert TASKS["mnli"].labels == ("entailment", "neutral", "contradiction")


def test_milestones_are_the_shares_of_table_2():
    assert PretrainConfig().milestones == (0.0, 0.0625, 0.125, 0.25, 0.5, 0.75, 1.0)


def test_fp16_starts_at_the_scales_of_the_register():
    sources = "".join(path.read_text() for path in [*ROOT.glob("train_*.py"), *(ROOT / "electra").rglob("*.py")])
    assert sorted(re.findall(r"2\.0\*\*(\d+)", sources)) == ["11", "14"]


def test_the_larger_of_two_outputs_is_the_class_whatever_their_signs():
    assert TASKS["rte"].predictions(np.array([[-3.0, -2.0], [2.0, 1.0]])).tolist() == [1, 0]
