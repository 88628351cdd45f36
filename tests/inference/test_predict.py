"""What a trained model says of text, against the same model run by hand and against what fine-tuning recorded."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

import train_glue
from electra.config import FinetuneConfig
from electra.files import FormatError, json_bytes
from electra.glue.finetune import build_classifier, open_start, save_classifier
from electra.glue.results import read_results
from electra.glue.tasks import TASKS
from electra.hub import folders as hub
from electra.inference import detect, embed, open_classifier, open_detector, open_encoder, predict
from electra.inference.predict import Opened
from electra.model.networks import Electra, MaskedLM
from electra.training.checkpoint import load_weights, save_checkpoint, torch_bytes
from tests.helpers.glue_files import checkpoint, glue_data, reviews

__all__ = ["checkpoint", "glue_data"]

TEXTS = ["the film was warm", "a book and this day and our house were cold, bad, dull", "x"]


@pytest.fixture(scope="session")
def models(checkpoint: Path, glue_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results folder of CoLA, MNLI and STS-B with their models kept; not to be changed."""
    out = tmp_path_factory.mktemp("glue")
    quick = ["--batch-size", "16", "--num-epochs", "2", "--precision", "fp32", "--seeds", "1", "--allow-other-sizes"]
    places = ["--checkpoint", str(checkpoint), "--data-dir", str(glue_data), "--out", str(out)]
    assert train_glue.main([*places, *quick, "--task", "cola,mnli,stsb", "--save-models"]) == 0
    return out


def model_of(models: Path, task: str) -> Opened:
    (record,) = [record for record in read_results(models) if record["task"] == task]
    return open_classifier(models / record["model"])


def pair(checkpoint: Path) -> Electra:
    """The checkpoint's networks, loaded by hand."""
    model = Electra(open_start(checkpoint).shape, 0.5)
    load_weights(checkpoint / "step-0000007", model)
    return model.eval()


def by_hand(model: torch.nn.Module, row: list[int]) -> np.ndarray:
    """Outputs for one row without padding or mask, special tokens left out."""
    with torch.no_grad():
        return model(torch.tensor([[1, *row, 2]]))[0, 1:-1].numpy()


def test_every_token_has_the_probability_that_the_discriminator_gives_it(checkpoint: Path) -> None:
    tokenizer, discriminator = open_start(checkpoint).tokenizer, pair(checkpoint).discriminator
    found = detect(TEXTS, open_detector(checkpoint))
    assert [detection.text for detection in found] == TEXTS
    for text, detection in zip(TEXTS, found, strict=True):
        assert "".join(detection.tokens) == text
        expected = 1 / (1 + np.exp(-by_hand(discriminator, tokenizer.encode(text))))
        assert np.abs(np.array(detection.replaced_probs) - expected).max() < 1e-6
    assert np.ptp(found[1].replaced_probs) > 1e-3  # tokens differ, so an exchange would show


def test_a_text_longer_than_a_row_is_read_in_rows_of_the_length_that_was_trained(checkpoint: Path) -> None:
    model, discriminator = open_detector(checkpoint), pair(checkpoint).discriminator
    text = " and ".join(text for text, _ in reviews(10, 5))
    ids = model.start.tokenizer.encode(text)
    for settings, size in (({}, 126), ({"seq_length": 19}, 17)):  # 128 positions, or what was trained
        assert len(ids) > size
        (found,) = detect([text], model._replace(config={**model.config, "pretrain": settings}))
        expected = [by_hand(discriminator, ids[first : first + size]) for first in range(0, len(ids), size)]
        expected_probs = 1 / (1 + np.exp(-np.concatenate(expected)))
        assert "".join(found.tokens) == text
        assert np.abs(np.array(found.replaced_probs) - expected_probs).max() < 1e-6


def test_embeddings_are_the_last_layers_vectors_and_their_mean(checkpoint: Path, models: Path) -> None:
    tokenizer, encoder = open_start(checkpoint).tokenizer, pair(checkpoint).discriminator.encoder
    for text, found in zip(TEXTS, embed(TEXTS, open_encoder(checkpoint)), strict=True):
        expected = by_hand(encoder, tokenizer.encode(text))
        assert found.vectors.shape == (len(found.tokens), 24)
        assert np.abs(found.vectors - expected).max() < 1e-5
        assert np.abs(found.mean - expected.sum(axis=0) / len(expected)).max() < 1e-5
    tuned = embed(TEXTS[-1:], open_encoder(model_of(models, "cola").start.folder))[0].vectors
    assert np.abs(tuned - found.vectors).max() > 1e-4


def recorded(models: Path, task: str, split: str) -> list[list[str]]:
    """Rows of the prediction file: index, prediction, label, outputs."""
    (record,) = [record for record in read_results(models) if record["task"] == task]
    lines = (models / record["predictions"][split]).read_text().splitlines()[1:]
    return [line.split("\t") for line in lines]


@pytest.mark.parametrize(("task", "split"), [("cola", "dev"), ("mnli", "dev_mismatched")])
def test_predictions_are_those_that_fine_tuning_recorded(models: Path, task: str, split: str) -> None:
    texts = [text for text, _ in (reviews(23, 5) if task == "cola" else reviews(29, 11))]
    found = predict(texts, None if task == "cola" else ["It was."] * 29, model_of(models, task))
    for (_, label, _, *logits), prediction in zip(recorded(models, task, split), found, strict=True):
        exponentials = np.exp([float(logit) for logit in logits])
        assert prediction.label == label == max(prediction.probs, key=prediction.probs.__getitem__)
        assert [*prediction.probs] == [*TASKS[task].labels]
        assert np.abs(np.array([*prediction.probs.values()]) - exponentials / exponentials.sum()).max() < 1e-5
        assert prediction.score is None
    assert [prediction.text for prediction in found] == texts
    assert {prediction.text_pair for prediction in found} == {None if task == "cola" else "It was."}


def test_scores_are_in_the_training_files_unit(models: Path) -> None:
    texts = [text for text, _ in reviews(23, 5)]
    found = predict(texts, texts, model_of(models, "stsb"))
    for (_, score, _, output), prediction in zip(recorded(models, "stsb", "dev"), found, strict=True):
        assert (prediction.label, prediction.probs) == (None, {})
        assert prediction.score == pytest.approx(float(score), abs=1e-4)
        assert prediction.score == pytest.approx(5 * float(output), abs=1e-4)


def test_new_text_is_cut_as_in_fine_tuning(models: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = model_of(models, "cola")
    short = model._replace(config={**model.config, "finetune": {**model.config["finetune"], "max_seq_length": 7}})
    ids = model.start.tokenizer.encode("the film was warm")
    assert len(ids) > 5
    beginning = model.start.tokenizer.decode(ids[:5])
    texts = [beginning, "the film was warm"]
    cut, uncut = (predict(texts, None, opened) for opened in (short, model))
    assert caplog.messages == ["1 of 2 rows were cut to 7 tokens"]
    assert predict(["  the film was warm "], None, model)[0].probs == pytest.approx(uncut[1].probs, abs=1e-6)
    assert cut[0].probs == pytest.approx(cut[1].probs, abs=1e-6)
    assert uncut[0].probs != pytest.approx(uncut[1].probs, abs=1e-5)


def test_a_model_that_went_to_the_hub_and_back_says_the_same(checkpoint: Path, tmp_path: Path) -> None:
    start, config = open_start(checkpoint), FinetuneConfig(pooling="first", precision="fp32")
    save_classifier(tmp_path / "mine", build_classifier(start, 2, config, 3), start, config, TASKS["cola"], 11)
    hub.export(tmp_path / "mine", tmp_path / "theirs")
    hub.import_folders([tmp_path / "theirs" / "classifier"], tmp_path / "back")
    mine, back = (predict(TEXTS, None, open_classifier(tmp_path / name)) for name in ("mine", "back"))
    for before, after in zip(mine, back, strict=True):
        assert before.label == after.label
        assert before.probs == pytest.approx(after.probs, abs=1e-6)
    assert predict(TEXTS, TEXTS, open_classifier(tmp_path / "back"))[0].text_pair == TEXTS[0]  # columns are unknown


def test_what_is_no_list_of_texts_is_refused(checkpoint: Path, models: Path) -> None:
    detector, cola = open_detector(checkpoint), model_of(models, "cola")
    cases = [
        ("the film", "texts: expected a list of texts, found one string; put each text in a list"),
        ([], "texts: expected a list of texts, found an empty one"),
        (["a café", "a caf\udce9"], "text 2: expected UTF-8, found other bytes; convert it"),  # Latin-1 from a shell
    ]
    for call in (lambda texts: detect(texts, detector), lambda texts: predict(texts, None, cola)):
        for texts, problem in cases:
            with pytest.raises(ValueError, match=problem):
                call(texts)
    with pytest.raises(ValueError, match="model: expected Encoder, found Discriminator; open that kind"):
        embed(["a"], detector)
    with pytest.raises(ValueError, match="text 2: expected at least one token, found none; leave it out"):
        detect(["the film", ""], detector)


def test_one_text_for_a_task_of_pairs_is_refused_and_the_other_way_round(models: Path) -> None:
    with pytest.raises(ValueError, match=r"expected sentence1 and sentence2, found 1 text\(s\); add the second"):
        predict(TEXTS, None, model_of(models, "mnli"))
    with pytest.raises(ValueError, match=r"expected sentence, found 2 text\(s\); drop the second"):
        predict(TEXTS, TEXTS, model_of(models, "cola"))
    for pairs, found in ((TEXTS[:2], "2"), ("abc", "one string")):
        with pytest.raises(ValueError, match=f"text pairs: expected 3, one for each text, found {found}"):
            predict(TEXTS, pairs, model_of(models, "mnli"))


def test_a_model_of_another_kind_is_refused(checkpoint: Path, models: Path, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="expected a fine-tuned model, found a pre-trained one; make one with python"):
        open_classifier(checkpoint)
    with pytest.raises(FormatError, match="expected a discriminator, found a model of cola; name a run of train_pretr"):
        open_detector(model_of(models, "cola").start.folder)
    start = open_start(checkpoint)
    settings = {"encoder": dataclasses.asdict(start.shape), "pretrain": {"objective": "mlm"}}
    contents = {"config.json": json_bytes(settings), "model.pt": torch_bytes(MaskedLM(start.shape).state_dict()),
                "tokenizer.json": (start.folder / "tokenizer.json").read_bytes()}  # fmt: skip
    save_checkpoint(tmp_path / "mlm", contents, {"step": 3})
    with pytest.raises(FormatError, match="expected a discriminator, found none; name a run of train_pretr"):
        open_detector(tmp_path / "mlm")
    assert len(embed(["the film"], open_encoder(tmp_path / "mlm"))) == 1  # an encoder it has


def test_without_a_model_the_only_one_in_runs_is_taken_and_none_or_several_are_named(checkpoint, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert len(embed(TEXTS)[0].mean) == 256  # of mini, the model that ships
    with pytest.raises(FileNotFoundError, match="runs/glue/models: expected a fine-tuned model, found none; make one"):
        predict(TEXTS)
    Path("runs").mkdir()
    Path("runs/demo").symlink_to(checkpoint)
    assert [len(found.tokens) for found in detect(TEXTS)] == [len(found.tokens) for found in embed(TEXTS)]
    start, config = open_start(checkpoint), FinetuneConfig(precision="fp32")
    model = build_classifier(start, 2, config, 3)
    save_classifier(Path("runs/glue/models/cola-1"), model, start, config, TASKS["cola"], 11)
    Path("runs/glue/models/.cola-1.0123abcd.partial").symlink_to("cola-1")
    assert predict(TEXTS)[0].label in TASKS["cola"].labels
    save_classifier(Path("runs/glue/models/cola-2"), model, start, config, TASKS["cola"], 11)
    with pytest.raises(FormatError, match="runs/glue/models: expected one model, found cola-1, cola-2; name one"):
        predict(TEXTS)
