"""Where fine-tuning starts, what each layer learns at, what is lost, and what comes out for each row."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from electra.config import FinetuneConfig
from electra.files import FormatError, json_bytes, read_json
from electra.glue.batches import encode
from electra.glue.finetune import (
    Start,
    build_classifier,
    loss_sum,
    open_start,
    predict_rows,
    rate_table,
    save_classifier,
)
from electra.glue.tasks import TASKS
from electra.model.transformer import SelfAttention
from electra.tokenizer.byte_level import Tokenizer
from electra.training.checkpoint import read_tensors, save_checkpoint
from tests.helpers.glue_files import checkpoint, make_checkpoint, reviews

__all__ = ["checkpoint"]

CPU = torch.device("cpu")


@pytest.fixture
def start(checkpoint: Path) -> Start:
    return open_start(checkpoint)


def test_a_start_is_the_newest_checkpoint_of_a_run_with_its_own_tokenizer(checkpoint: Path) -> None:
    start = open_start(checkpoint)
    assert (start.folder, start.step) == (checkpoint / "step-0000007", 7)
    assert start.tokenizer.fingerprint == Tokenizer.load(checkpoint / "step-0000007").fingerprint
    assert start.sha256 == read_json(start.folder / "manifest.json")["sha256"]["model.pt"]


def resealed(folder: Path, **changes: bytes) -> Path:
    """A checkpoint with other files, and a manifest that vouches for them."""
    names = {"tokenizer": "tokenizer.json", "config": "config.json"}
    contents = {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "manifest.json"}
    contents |= {names[name]: content for name, content in changes.items()}
    shutil.rmtree(folder)
    save_checkpoint(folder, contents, {"step": 7})
    return folder


@pytest.mark.parametrize("vocab_size", [300, 293])
def test_a_foreign_tokenizer_is_refused_whatever_its_size(tmp_path: Path, vocab_size: int) -> None:
    folder = make_checkpoint(tmp_path / "run") / "step-0000007"
    foreign = Tokenizer.train([text.upper() for text, _ in reviews(200, 1)], vocab_size)
    assert foreign.vocab_size == vocab_size
    foreign.save(tmp_path / "foreign.json")
    resealed(folder, tokenizer=(tmp_path / "foreign.json").read_bytes())
    with pytest.raises(FormatError, match=r"expected the tokenizer of the training \(300 words\), found another"):
        open_start(folder)


def test_an_imported_checkpoint_that_names_no_tokenizer_must_at_least_fit_in_size(tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path / "run") / "step-0000007"
    config = read_json(folder / "config.json")
    del config["tokenizer"]
    assert open_start(resealed(folder, config=json_bytes(config))).shape.vocab_size == 300
    Tokenizer.train([text for text, _ in reviews(200, 1)], 293).save(tmp_path / "foreign.json")
    resealed(folder, tokenizer=(tmp_path / "foreign.json").read_bytes())
    with pytest.raises(FormatError, match=r"found another \(293 words\)"):
        open_start(folder)


def test_what_is_no_checkpoint_is_refused(tmp_path: Path, checkpoint: Path) -> None:
    with pytest.raises(FileNotFoundError, match="expected a checkpoint or run folder, found none"):
        open_start(tmp_path / "none")
    with pytest.raises(FormatError, match="expected a model fine-tuned on mnli, found none; make one with train_glue"):
        open_start(checkpoint, task="mnli")
    shutil.copytree(checkpoint, tmp_path / "run")
    with open(tmp_path / "run" / "step-0000007" / "model.pt", "ab") as file:
        file.write(b"x")
    with pytest.raises(FormatError, match=r"model.pt: expected sha256 "):
        open_start(tmp_path / "run")


def test_the_classifier_starts_with_the_checkpoints_encoder_under_a_new_head(start: Start) -> None:
    saved = read_tensors(start.folder / "model.pt")
    model = build_classifier(start, 3, FinetuneConfig(), seed=5)
    for name, tensor in model.encoder.state_dict().items():
        assert torch.equal(tensor, saved[f"discriminator.encoder.{name}"]), name
    assert model.output.weight.shape == (3, 24)
    bound = math.sqrt(6 / (24 + 3))  # Glorot's, for the output; zero bias
    assert 0.8 * bound < model.output.weight.abs().max().item() <= bound
    assert not model.output.bias.any()
    assert model.dense is not None
    assert model.dense.weight.abs().max().item() <= 0.04  # a normal of 0.02 cut at two deviations


def test_the_head_is_a_function_of_the_seed_and_from_scratch_so_is_the_encoder(start: Start) -> None:
    loaded = [build_classifier(start, 2, FinetuneConfig(), seed) for seed in (0, 0, 1)]
    scratch = [build_classifier(start, 2, FinetuneConfig(), seed, from_scratch=True) for seed in (0, 0, 1)]
    for models in (loaded, scratch):
        heads = [model.output.weight for model in models]
        assert torch.equal(heads[0], heads[1])
        assert not torch.equal(heads[0], heads[2])
    assert torch.equal(scratch[0].output.weight, loaded[0].output.weight)  # the same head on another encoder
    loaded_words, words = ([model.encoder.embeddings.word.weight for model in models] for models in (loaded, scratch))
    assert torch.equal(loaded_words[0], loaded_words[2])
    assert torch.equal(words[0], words[1])
    assert not torch.equal(words[0], words[2])
    assert not torch.equal(words[0], loaded_words[0])


def test_dropout_is_fine_tunings_own(start: Start) -> None:
    model = build_classifier(start, 2, FinetuneConfig(dropout=0.37), 0)
    assert model.dropout.p == model.encoder.embeddings.dropout.p == 0.37
    assert [part.dropout for part in model.modules() if isinstance(part, SelfAttention)] == [0.37, 0.37]


def test_a_row_longer_than_the_checkpoints_positions_is_refused(start: Start) -> None:
    with pytest.raises(
        ValueError, match="--max-seq-length: expected at most 128, the checkpoint's positions, found 129"
    ):
        build_classifier(start, 2, FinetuneConfig(max_seq_length=129), 0)


REPORT = [0.8, 0.64, 0.512, 0.4096, 0.3277, 0.2621, 0.2097, 0.1678, 0.1342, 0.1074, 0.0859, 0.0687]


@pytest.mark.parametrize(
    ("top_exponent", "layers", "embeddings"),
    [(1, REPORT, 0.0550), (2, [*REPORT[1:], 0.0550], 0.0440), (0, [1.0, *REPORT[:-1]], 0.0687)],
)
def test_the_table_of_rates_is_the_published_one(top_exponent: int, layers: list[float], embeddings: float) -> None:
    title, head, *lines = rate_table(12, FinetuneConfig(layerwise_lr_top_exponent=top_exponent)).split("\n")
    assert title == "peak learning rates:"
    assert head.split() == ["head", "1.0000", "x", "0.0003", "=", "0.0003"]
    assert [line.split()[:2] for line in lines[:-1]] == [["layer", str(n)] for n in range(12, 0, -1)]
    assert [float(line.split()[2]) for line in lines[:-1]] == pytest.approx(layers, abs=1e-4)
    assert lines[-1].split()[:2] == ["embeddings,", "projection"]
    assert float(lines[-1].split()[2]) == pytest.approx(embeddings, abs=1e-4)


def test_the_loss_is_the_cross_entropy_or_the_squared_error_summed_over_rows() -> None:
    logits = torch.tensor([[1.0, 2.0, 0.5], [0.0, 0.0, 0.0]])
    by_hand = -(2.0 - math.log(math.e + math.e**2 + math.e**0.5)) + math.log(3)
    assert loss_sum(logits, torch.tensor([1, 2])).item() == pytest.approx(by_hand, abs=1e-6)

    assert loss_sum(torch.tensor([[0.5], [1.25]]), torch.tensor([0.0, 1.0])).item() == 0.25 + 0.0625


@pytest.mark.parametrize("targets", [torch.tensor([1, 0]), torch.tensor([0.3, 0.9])])
def test_the_loss_is_taken_in_float32_or_wider(targets: torch.Tensor) -> None:
    width = 1 if targets.is_floating_point() else 2
    for given, expected in ((torch.bfloat16, torch.float32), (torch.float64, torch.float64)):
        assert loss_sum(torch.ones(2, width, dtype=given), targets).dtype == expected


def test_predictions_come_in_the_order_of_the_rows_and_do_not_depend_on_company(start: Start) -> None:
    texts, config = [text for text, _ in reviews(37, 13)], FinetuneConfig(precision="fp32", dropout=0.5)
    model = build_classifier(start, 2, config, 0).train()  # predicting turns dropout off

    def outputs(*texts: str) -> np.ndarray:
        return predict_rows(model, encode([*texts], None, start.tokenizer, 128), config, CPU)

    together, alone = outputs(*texts), [outputs(text)[0] for text in texts]
    assert together.shape == (37, 2)
    assert np.abs(together - np.array(alone)).max() < 1e-5
    assert np.abs(together[0] - together[1]).max() > 1e-4  # rows differ, so an exchange would show
    torch.nn.init.constant_(model.output.bias, torch.nan)
    with pytest.raises(FloatingPointError, match="outputs: expected finite numbers, found nan"):
        outputs("x")


def test_a_saved_classifier_starts_another_fine_tuning(start: Start, tmp_path: Path) -> None:
    config = FinetuneConfig(pooling="first", precision="fp32")
    model = build_classifier(start, 3, config, 3)
    model.encoder.state_dict()["layers.0.attention.out.bias"].add_(0.5)  # no longer the start's encoder
    save_classifier(tmp_path / "mnli", model, start, config, TASKS["mnli"], 11)
    again = open_start(tmp_path / "mnli", task="mnli")
    assert again.step == 11
    assert again.shape == start.shape
    rte = build_classifier(again, 2, config, 0)
    for name, tensor in rte.encoder.state_dict().items():
        assert torch.equal(tensor, model.encoder.state_dict()[name]), name
    saved = read_json(tmp_path / "mnli" / "config.json")
    assert (saved["task"], saved["labels"]) == ("mnli", ["entailment", "neutral", "contradiction"])
    assert saved["finetune"]["pooling"] == "first"
    assert read_json(tmp_path / "mnli" / "manifest.json")["started_from"] == start.sha256  # results are found by it
    assert read_tensors(tmp_path / "mnli" / "model.pt")["output.weight"].shape == (3, 24)
