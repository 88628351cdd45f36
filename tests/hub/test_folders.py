"""Hugging Face folders: what is written there, what is read back, and what is refused."""

from __future__ import annotations

import dataclasses
import pickle
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from electra.config import EncoderConfig, PretrainConfig
from electra.files import PRETRAINED, FormatError, read_json
from electra.hub import folders as hub
from electra.model.networks import Electra, MaskedLM, SequenceClassifier
from electra.tokenizer.byte_level import Tokenizer
from electra.tokenizer.wordpiece import WordPieceTokenizer, load_tokenizer
from electra.training.checkpoint import load_encoder_weights, load_weights, max_seq_length, torch_bytes, verify
from tests.conftest import generator_logits
from tests.helpers.hub_files import (
    LABELS,
    SHAPE,
    TEXTS,
    TOKENIZER,
    assert_same_bytes,
    classifier,
    classifier_checkpoint,
    pair,
    randomize,
    rewrite,
    rewrite_config,
    tensors,
    tokenizer_json,
    write_checkpoint,
)

__all__ = ["classifier", "pair", "tokenizer_json"]


def parts(folder: Path) -> list[Path]:
    """The folders that an export made."""
    return sorted(folder.iterdir())


# --- round trips -------------------------------------------------------------------------------------------------


def test_a_pre_training_checkpoint_comes_back_byte_for_byte(pair: Path, tmp_path: Path):
    hub.main_export(["--checkpoint", str(pair), "--out", str(tmp_path / "out")])
    hub.main_import([*map(str, parts(tmp_path / "out")), "--out", str(tmp_path / "back")])
    verify(tmp_path / "back")
    assert_same_bytes(tensors(pair / "model.pt"), tensors(tmp_path / "back" / "model.pt"))
    settings = read_json(tmp_path / "back" / "config.json")
    assert settings == {"encoder": dataclasses.asdict(SHAPE), "pretrain": {"seq_length": 31, "generator_size": 0.5},
                        "tokenizer": TOKENIZER.fingerprint}  # fmt: skip
    assert (tmp_path / "back" / "tokenizer.json").read_bytes() == (pair / "tokenizer.json").read_bytes()
    load_weights(tmp_path / "back", Electra(SHAPE, 0.5))
    for tensor in tensors(tmp_path / "out" / "discriminator" / "pytorch_model.bin").values():
        assert tensor.untyped_storage().nbytes() == 4 * tensor.numel()  # no piece drags the fused tensor along


def test_a_classifier_comes_back_byte_for_byte_with_its_labels(classifier: Path, tmp_path: Path):
    hub.export(classifier, tmp_path / "out")
    hub.import_folders([tmp_path / "out" / "classifier"], tmp_path / "back")
    assert_same_bytes(tensors(classifier / "model.pt"), tensors(tmp_path / "back" / "model.pt"))
    settings = read_json(tmp_path / "back" / "config.json")
    assert (settings["labels"], settings["task"]) == (LABELS, "mnli")
    assert (settings["finetune"]["pooling"], settings["finetune"]["head"]) == ("first", "mlp")
    assert (settings["finetune"]["max_seq_length"], settings["encoder"]["max_position_embeddings"]) == (29, 31)
    model = SequenceClassifier(EncoderConfig(**settings["encoder"]), 3, pooling="first", head="mlp")
    load_weights(tmp_path / "back", model)


def test_a_regression_comes_back_without_labels(tmp_path: Path, tokenizer_json: bytes):
    hub.export(classifier_checkpoint(tmp_path / "score", tokenizer_json, []), tmp_path / "out")
    config = read_json(tmp_path / "out" / "classifier" / "config.json")
    assert (config["id2label"], config["problem_type"]) == ({"0": "score"}, "regression")
    hub.import_folders(parts(tmp_path / "out"), tmp_path / "back")
    settings = read_json(tmp_path / "back" / "config.json")
    assert (settings["labels"], settings["score_range"]) == ([], [0.0, 5.0])


def test_the_shipped_model_comes_back_in_float32_with_the_row_length_of_its_training(tmp_path: Path):
    folders, _ = hub.export(PRETRAINED / "mini", tmp_path / "out")
    hub.import_folders([*folders.values()], tmp_path / "back")
    assert {tensor.dtype for tensor in tensors(folders["generator"] / "pytorch_model.bin").values()} == {torch.float32}
    assert read_json(folders["generator"] / "tokenizer_config.json")["model_max_length"] == 128
    assert max_seq_length(read_json(tmp_path / "back" / "config.json")) == 128


def test_a_discriminator_alone_goes_in_and_out_alone(pair: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    hub.export(pair, tmp_path / "out")
    hub.main_import([str(tmp_path / "out" / "discriminator"), "--out", str(tmp_path / "back")])
    assert "no generator; --init-networks discriminator" in capsys.readouterr().out
    assert read_json(tmp_path / "back" / "config.json")["pretrain"] == {"seq_length": 31}
    folders, reason = hub.export(tmp_path / "back", tmp_path / "again")
    assert ([*folders], reason) == (["discriminator"], "")
    again = tensors(tmp_path / "again" / "discriminator" / "pytorch_model.bin")
    assert_same_bytes(tensors(tmp_path / "out" / "discriminator" / "pytorch_model.bin"), again)


def test_the_masked_lm_control_is_a_generator_of_full_size_both_ways(tmp_path: Path, tokenizer_json: bytes):
    pretrain = dataclasses.asdict(PretrainConfig(objective="mlm", generator_size=0.5))
    control = write_checkpoint(tmp_path / "mlm", randomize(MaskedLM(SHAPE)), tokenizer_json, pretrain=pretrain)
    hub.export(control, tmp_path / "out")
    assert read_json(tmp_path / "out" / "generator" / "config.json")["hidden_size"] == SHAPE.hidden_size
    hub.import_folders(parts(tmp_path / "out"), tmp_path / "back")
    assert_same_bytes(tensors(control / "model.pt"), tensors(tmp_path / "back" / "model.pt"))
    assert read_json(tmp_path / "back" / "config.json")["pretrain"] == {"seq_length": 31, "objective": "mlm"}
    load_weights(tmp_path / "back", MaskedLM(SHAPE))


@pytest.mark.parametrize("how", [("mean", "mlp", True), ("first", "linear", True), ("first", "mlp", False)])
def test_a_classifier_that_has_no_name_there_leaves_its_encoder_and_says_why(tmp_path, tokenizer_json, capsys, how):
    checkpoint = classifier_checkpoint(tmp_path / "ours", tokenizer_json, LABELS, *how)
    hub.main_export(["--checkpoint", str(checkpoint), "--out", str(tmp_path / "out")])
    printed = capsys.readouterr().out
    pooling, head, types = how
    assert f"no classifier with pooling {pooling}, head {head}, token_types {types} (only first, mlp, True)" in printed
    assert "ElectraModel" in printed
    hub.import_folders(parts(tmp_path / "out"), tmp_path / "back")
    model = SequenceClassifier(SHAPE, 2, pooling="mean", head="mlp")
    load_encoder_weights(tmp_path / "back", model.encoder)
    for name, tensor in model.encoder.state_dict().items():
        assert torch.equal(tensor, tensors(checkpoint / "model.pt")[f"encoder.{name}"])
    folders, _ = hub.export(tmp_path / "back", tmp_path / "again")
    assert [*folders] == ["encoder"]


def test_config_json_states_sizes_and_labels(pair: Path, classifier: Path, tmp_path: Path):
    hub.export(pair, tmp_path / "out")
    hub.export(classifier, tmp_path / "out")
    common = {"model_type": "electra", "hidden_act": "gelu", "layer_norm_eps": 1e-12, "vocab_size": 331,
              "embedding_size": 11, "num_hidden_layers": 2, "hidden_dropout_prob": 0.1, "type_vocab_size": 2,
              "attention_probs_dropout_prob": 0.0, "max_position_embeddings": 31, "initializer_range": 0.2,
              "pad_token_id": 0}  # fmt: skip
    length = {"max_seq_length": 31}  # of training, at most the positions
    sizes = {"hidden_size": 26, "num_attention_heads": 2, "intermediate_size": 37}
    halves = {"hidden_size": 13, "num_attention_heads": 1, "intermediate_size": 18}
    names = {"id2label": {"0": LABELS[0], "1": LABELS[1], "2": LABELS[2]}, "finetuning_task": "mnli",
             "label2id": {LABELS[0]: 0, LABELS[1]: 1, LABELS[2]: 2}, "score_range": [0.0, 5.0], "max_seq_length": 29,
             "problem_type": "single_label_classification"}  # fmt: skip
    found = {folder.name: read_json(folder / "config.json") for folder in parts(tmp_path / "out")}
    assert found == {
        "discriminator": {"architectures": ["ElectraForPreTraining"], **common, **sizes, **length},
        "generator": {"architectures": ["ElectraForMaskedLM"], **common, **halves, **length},
        "classifier": {"architectures": ["ElectraForSequenceClassification"], **common, **sizes, **names},
    }


# --- folders as others have them ---------------------------------------------------------------------------------


@pytest.fixture
def exported(pair: Path, tmp_path: Path) -> Path:
    """A folder with `discriminator` and `generator`."""
    hub.export(pair, tmp_path / "out")
    return tmp_path / "out"


def test_old_files_half_precision_position_buffers_and_a_missing_tied_copy_are_read(pair, exported, tmp_path):
    for part in ("discriminator", "generator"):
        weights = tensors(exported / part / "pytorch_model.bin")
        weights["electra.embeddings.position_ids"] = torch.arange(31)[None]
        weights.pop("generator_lm_head.weight", None)
        weights = {name: t.half() if t.is_floating_point() else t for name, t in weights.items()}
        torch.save(weights, exported / part / "pytorch_model.bin", _use_new_zipfile_serialization=False)
    hub.import_folders(parts(exported), tmp_path / "back")
    expected = {name: tensor.half().float() for name, tensor in tensors(pair / "model.pt").items()}
    assert_same_bytes(expected, tensors(tmp_path / "back" / "model.pt"))


def test_a_wordpiece_model_keeps_its_vocabulary_both_ways(exported: Path, tmp_path: Path):
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *map(str, range(326))]
    for part in ("discriminator", "generator"):
        WordPieceTokenizer(words).save(exported / part)
        (exported / part / "tokenizer.json").unlink()
    hub.import_folders(parts(exported), tmp_path / "back")
    assert sorted(file.name for file in (tmp_path / "back").iterdir()) == [
        "config.json", "manifest.json", "model.pt", "vocab.txt"]  # fmt: skip
    hub.export(tmp_path / "back", tmp_path / "again")
    config = read_json(tmp_path / "again" / "generator" / "tokenizer_config.json")
    assert (config["tokenizer_class"], config["do_lower_case"]) == ("BertTokenizer", True)
    assert (config["unk_token"], "token_type_ids" in config["model_input_names"]) == ("[UNK]", True)
    assert load_tokenizer(tmp_path / "again" / "generator").fingerprint == WordPieceTokenizer(words).fingerprint


def test_unnamed_labels_are_the_librarys_own(classifier: Path, tmp_path: Path, tokenizer_json: bytes):
    hub.export(classifier_checkpoint(tmp_path / "two", tokenizer_json, ["no", "yes"]), tmp_path / "out")
    changes = dict.fromkeys(("id2label", "label2id", "finetuning_task", "score_range"), ...)
    rewrite_config(tmp_path / "out" / "classifier", **changes)
    hub.import_folders(parts(tmp_path / "out"), tmp_path / "back")
    settings = read_json(tmp_path / "back" / "config.json")
    assert (settings["labels"], settings["task"]) == (["LABEL_0", "LABEL_1"], "")
    assert settings["score_range"] == [0.0, 1.0]  # outputs as they are


# --- refusals ----------------------------------------------------------------------------------------------------


def refused(folders: Path | list[Path], out: Path, error: type[Exception] = FormatError) -> str:
    """The message of an import that is refused and leaves nothing behind."""
    with pytest.raises(error, match=r": expected .*, found .*;") as caught:
        hub.import_folders(folders if isinstance(folders, list) else [folders], out)
    assert not out.exists()
    assert not [*out.parent.glob(f".{out.name}*")]
    return str(caught.value)


def test_missing_unexpected_and_misshapen_tensors_are_named_the_first_five_of_them(exported: Path, tmp_path: Path):
    def damage(weights: dict[str, Tensor]) -> None:
        del weights["electra.encoder.layer.0.attention.self.key.bias"]
        del weights["discriminator_predictions.dense.weight"]
        weights["pooler.weight"] = torch.zeros(1)
        weights["discriminator_predictions.dense.bias"] = weights["discriminator_predictions.dense.bias"].char()
        weights["electra.embeddings_project.weight"] = torch.zeros(11, 26)
        weights["z"] = torch.zeros(1)

    rewrite(exported / "discriminator", damage)
    message = refused(parts(exported), tmp_path / "back")
    assert "pytorch_model.bin" in message
    for part in (
        "no discriminator_predictions.dense.weight; and 1 more; ",
        "discriminator_predictions.dense.bias that holds no floats",
        "an unexpected pooler.weight",
        "electra.embeddings_project.weight of shape [11, 26] instead of [26, 11]",
    ):
        assert part in message


def test_a_softmax_that_is_not_the_word_table_is_refused(exported: Path, tmp_path: Path):
    def untie(weights: dict[str, Tensor]) -> None:
        weights["generator_lm_head.weight"] = weights["generator_lm_head.weight"] + 1

    rewrite(exported / "generator", untie)
    message = refused(parts(exported), tmp_path / "back")
    assert "generator_lm_head.weight unlike electra.embeddings.word_embeddings" in message


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"hidden_act": "gelu_new"}, "hidden_act gelu_new"),
        ({"layer_norm_eps": 1e-5}, "layer_norm_eps 1e-05"),
        ({"model_type": "bert"}, "model_type bert"),
        ({"embedding_size": ...}, "no embedding_size"),
        ({"architectures": ["BertForMaskedLM"]}, "found BertForMaskedLM"),
        ({"architectures": "ElectraForPreTraining"}, "expected list[str] | None as 'architectures'"),
        ({"num_attention_heads": 3}, "--num-heads: expected a divisor"),
        ({"vocab_size": 331.0}, "--vocab-size: expected int"),
        ({"hidden_size": 28}, "embeddings_project.bias of shape [26] instead of [28]"),
        ({"num_hidden_layers": 3}, "no electra.encoder.layer.2."),
        ({"num_hidden_layers": 100_000}, "expected 100,000 layers"),
    ],
)
def test_another_model_is_refused(exported: Path, tmp_path: Path, changes: dict[str, Any], words: str):
    rewrite_config(exported / "discriminator", **changes)
    assert words in refused(exported / "discriminator", tmp_path / "back")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"problem_type": "multi_label_classification"}, r"expected problem_type single_label_.*found multi_label"),
        ({"id2label": {"0": "a"}}, r"expected problem_type regression, found single_label"),
        (
            {"id2label": {"0": "a", "1": "b", "3": "c"}},
            "expected a different name in id2label for each output 0 to 2, found 0 a, 1 b, 3 c",
        ),
        ({"id2label": {"0": "a", "1": "b", "2": "a"}}, "expected a different name in id2label .* 1 b, 2 a"),
        ({"id2label": ["a", "b", "c"]}, "expected dict.* as 'id2label', found a list"),
    ],
)
def test_outputs_that_are_not_one_label_or_one_score_are_refused(classifier, tmp_path, changes, words):
    hub.export(classifier, tmp_path / "out")
    rewrite_config(tmp_path / "out" / "classifier", **changes)
    assert re.search(words, refused(tmp_path / "out" / "classifier", tmp_path / "back"))


def test_a_vocabulary_of_another_size_is_refused(exported: Path, tmp_path: Path):
    Tokenizer.train(TEXTS, 330).save(exported / "discriminator")
    assert "the model's 331 words, found one with 330" in refused(exported / "discriminator", tmp_path / "back")


def test_parts_that_do_not_belong_together_are_refused(exported: Path, tmp_path: Path):
    def move(weights: dict[str, Tensor]) -> None:
        weights["electra.embeddings.LayerNorm.bias"] += 1e-3
        weights["electra.embeddings.token_type_embeddings.weight"] += 1e-3

    rewrite(exported / "generator", move)
    Tokenizer.train([*TEXTS, "xyxyxyxyxyxy" * 9], 331).save(exported / "generator")
    rewrite_config(exported / "generator", attention_probs_dropout_prob=0.2)
    message = refused(parts(exported), tmp_path / "back")
    for part in ("embeddings.norm.bias differs", "embeddings.token_type.weight differs", "the tokenizer differs",
                 "attention_dropout_prob is 0.2"):  # fmt: skip
        assert part in message
    assert "word.weight" not in message


def test_two_folders_of_one_kind_and_a_classifier_beside_another_part_are_refused(exported, classifier, tmp_path):
    hub.export(classifier, tmp_path / "out")
    assert "found classifier, discriminator, generator" in refused(parts(exported), tmp_path / "back")
    twice = [exported / "discriminator", exported / "discriminator"]
    assert "found discriminator, discriminator" in refused(twice, tmp_path / "back")


class Malicious:
    """Creates a file when unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return Path.touch, (self.target,)


@pytest.mark.parametrize("kind", ["zip", "old", "pickle"])
def test_code_in_a_weights_file_is_refused_and_not_run(exported: Path, tmp_path: Path, kind: str):
    file = exported / "generator" / "pytorch_model.bin"
    code = Malicious(tmp_path / "ran")
    if kind == "pickle":
        file.write_bytes(pickle.dumps(code))
    else:
        torch.save({**tensors(file), "code": code}, file, _use_new_zipfile_serialization=kind == "zip")
    assert "pytorch_model.bin: expected tensors, found" in refused(parts(exported), tmp_path / "back")
    assert not (tmp_path / "ran").exists()
    pickle.loads(pickle.dumps(code))
    assert (tmp_path / "ran").exists()  # a careless reader runs the code


@pytest.mark.parametrize("content", [b"", b"<html>", torch_bytes([torch.zeros(2)]), torch_bytes({})[:-99]])
def test_a_damaged_weights_file_is_refused(exported: Path, tmp_path: Path, content: bytes):
    (exported / "discriminator" / "pytorch_model.bin").write_bytes(content)
    assert "pytorch_model.bin: expected" in refused(parts(exported), tmp_path / "back")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("config.json", r"config\.json"),
        ("pytorch_model.bin", r"expected .*pytorch_model\.bin.*, found none; get one of them"),
        ("tokenizer.json", r"tokenizer\.json: expected a tokenizer, found nothing"),
    ],
)
def test_a_folder_without_one_of_its_files_is_refused(exported: Path, tmp_path: Path, name: str, message: str):
    (exported / "discriminator" / name).unlink()
    with pytest.raises(FileNotFoundError, match=message):
        hub.import_folders([exported / "discriminator"], tmp_path / "back")
    assert not (tmp_path / "back").exists()


def test_a_folder_that_exists_is_never_overwritten(pair: Path, exported: Path, tmp_path: Path):
    with pytest.raises(FormatError, match=r"discriminator: exists already; name another --out"):
        hub.export(pair, exported)
    (tmp_path / "back").mkdir()
    with pytest.raises(FormatError, match=r"back: exists already; name another --out"):
        hub.import_folders(parts(exported), tmp_path / "back")


def test_a_missing_safetensors_package_is_named(exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (exported / "discriminator" / "model.safetensors").write_bytes(b"newer than pytorch_model.bin")
    monkeypatch.setitem(sys.modules, "safetensors", None)
    assert "pip install safetensors" in refused(parts(exported), tmp_path / "back")


# --- against the library -----------------------------------------------------------------------------------------


@pytest.mark.oracle
def test_safetensors_are_read_where_the_package_is_installed(pair: Path, exported: Path, tmp_path: Path):
    library = pytest.importorskip("safetensors.torch")
    for part in ("discriminator", "generator"):
        weights = tensors(exported / part / "pytorch_model.bin")
        weights.pop("generator_lm_head.weight", None)
        library.save_file(weights, exported / part / "model.safetensors")
        (exported / part / "pytorch_model.bin").unlink()
    hub.import_folders(parts(exported), tmp_path / "back")
    assert_same_bytes(tensors(pair / "model.pt"), tensors(tmp_path / "back" / "model.pt"))
    (exported / "generator" / "model.safetensors").write_bytes(b"noise")
    assert "found a damaged file" in refused(parts(exported), tmp_path / "again")


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Any:
    """transformers, unable to reach a network."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return pytest.importorskip("transformers")


def opened(library: Any, kind: str, folder: Path) -> Any:
    """A model as a user opens it; any weight left over or made up is an error."""
    model, info = getattr(library, kind).from_pretrained(folder, output_loading_info=True, local_files_only=True)
    assert not any(info.values()), info
    return model.eval()


def encoded_pairs(library: Any, folder: Path) -> dict[str, Tensor]:
    """Pairs of texts through their tokenizer, padded, the second text of type 1."""
    tokenizer = library.AutoTokenizer.from_pretrained(folder, local_files_only=True)
    rows = tokenizer(TEXTS[:7], TEXTS[7:14], return_tensors="pt", padding=True, truncation=True, max_length=31)
    assert set(rows["token_type_ids"].unique().tolist()) == {0, 1}
    return dict(rows)


@pytest.mark.oracle
@torch.no_grad()
def test_the_library_opens_the_pair_and_gives_our_logits(pair: Path, exported: Path, library: Any):
    ours = Electra(SHAPE, 0.5).eval()
    load_weights(pair, ours)
    rows = encoded_pairs(library, exported / "discriminator")
    ids, types, mask = rows["input_ids"], rows["token_type_ids"], rows["attention_mask"].bool()
    model = opened(library, "AutoModelForPreTraining", exported / "discriminator")
    assert type(model).__name__ == "ElectraForPreTraining"
    hidden = ours.discriminator.encoder(ids, mask, types)
    logits = ours.discriminator.output(nn.functional.gelu(ours.discriminator.dense(hidden))).squeeze(-1)
    torch.testing.assert_close(model(**rows).logits[mask], logits[mask], rtol=0, atol=1e-5)
    plain = model(ids, attention_mask=rows["attention_mask"]).logits
    torch.testing.assert_close(plain[mask], ours.discriminator(ids, mask)[mask], rtol=0, atol=1e-5)

    model = opened(library, "AutoModelForMaskedLM", exported / "generator")
    everywhere = torch.arange(ids.shape[1]).expand(len(ids), -1)
    theirs = model(ids, attention_mask=rows["attention_mask"]).logits
    torch.testing.assert_close(theirs[mask], generator_logits(ours, ids, everywhere, mask)[mask], rtol=0, atol=1e-5)
    assert model.generator_lm_head.weight is model.electra.embeddings.word_embeddings.weight


@pytest.mark.oracle
@pytest.mark.parametrize("labels", [LABELS, ["no", "yes"], []])
@torch.no_grad()
def test_the_library_opens_the_classifier_and_gives_our_logits_for_pairs(tmp_path, tokenizer_json, labels, library):
    checkpoint = classifier_checkpoint(tmp_path / "ours", tokenizer_json, labels)
    hub.export(checkpoint, tmp_path / "out")
    ours = SequenceClassifier(SHAPE, len(labels) or 1, pooling="first", head="mlp").eval()
    load_weights(checkpoint, ours)
    model = opened(library, "AutoModelForSequenceClassification", tmp_path / "out" / "classifier")
    rows = encoded_pairs(library, tmp_path / "out" / "classifier")
    expected = ours(rows["input_ids"], rows["attention_mask"].bool(), rows["token_type_ids"])
    torch.testing.assert_close(model(**rows).logits, expected, rtol=0, atol=1e-5)
    assert (model(**{**rows, "token_type_ids": None}).logits - expected).abs().max() > 1e-3  # types matter
    assert [model.config.id2label[number] for number in range(len(labels))] == labels


@pytest.mark.oracle
@torch.no_grad()
def test_the_library_opens_an_encoder_alone(tmp_path: Path, tokenizer_json: bytes, library: Any):
    checkpoint = classifier_checkpoint(tmp_path / "ours", tokenizer_json, LABELS, "mean")
    hub.export(checkpoint, tmp_path / "out")
    ours = SequenceClassifier(SHAPE, 3, pooling="mean", head="mlp").eval()
    load_weights(checkpoint, ours)
    rows = encoded_pairs(library, tmp_path / "out" / "encoder")
    mask = rows["attention_mask"].bool()
    hidden = opened(library, "AutoModel", tmp_path / "out" / "encoder")(**rows).last_hidden_state
    expected = ours.encoder(rows["input_ids"], mask, rows["token_type_ids"])
    torch.testing.assert_close(hidden[mask], expected[mask], rtol=0, atol=1e-5)


@pytest.mark.oracle
def test_the_librarys_tokenizer_gives_our_ids(exported: Path, library: Any):
    tokenizer = library.AutoTokenizer.from_pretrained(exported / "generator", local_files_only=True)
    special = TOKENIZER.special_ids
    assert tokenizer.is_fast
    assert (tokenizer.pad_token_id, tokenizer.mask_token_id) == (special.pad, special.mask)
    for text in TEXTS[:-1]:  # the last spells a special token, which only the library reads as one
        assert tokenizer(text)["input_ids"] == [special.cls, *TOKENIZER.encode(text), special.sep]
        assert tokenizer.decode(TOKENIZER.encode(text)) == text


@pytest.mark.oracle
def test_the_library_opens_an_exported_wordpiece_vocabulary(real_data: Path, exported: Path, library: Any):
    words = load_tokenizer(real_data / "tokenizers" / "bert-base-uncased-vocab.txt")
    for part in ("discriminator", "generator"):
        words.save(exported / part)
        (exported / part / "tokenizer_config.json").write_bytes(
            hub.tokenizer_contents(exported / part, 31)["tokenizer_config.json"]
        )
        (exported / part / "tokenizer.json").unlink()
    tokenizer = library.AutoTokenizer.from_pretrained(exported / "generator", local_files_only=True)
    for text in ("Déjà vu, unaffable!", "日本 and ÅNGSTRÖM"):
        assert tokenizer(text)["input_ids"] == [101, *words.encode(text), 102]
    assert tokenizer("a", "b")["token_type_ids"] == [0, 0, 0, 1, 1]


@pytest.mark.oracle
@torch.no_grad()
def test_what_the_library_saves_is_imported_and_gives_its_logits(tmp_path: Path, library: Any):
    sizes = {"vocab_size": 331, "embedding_size": 11, "hidden_size": 26, "num_hidden_layers": 2,
             "num_attention_heads": 2, "intermediate_size": 37, "max_position_embeddings": 31}  # fmt: skip
    model = library.ElectraForSequenceClassification(library.ElectraConfig(**sizes, num_labels=3)).eval()
    model.save_pretrained(tmp_path / "theirs")  # safetensors
    TOKENIZER.save(tmp_path / "theirs")
    hub.import_folders([tmp_path / "theirs"], tmp_path / "ours")
    settings = read_json(tmp_path / "ours" / "config.json")
    assert settings["labels"] == ["LABEL_0", "LABEL_1", "LABEL_2"]
    ours = SequenceClassifier(EncoderConfig(**settings["encoder"]), 3, pooling="first", head="mlp").eval()
    load_weights(tmp_path / "ours", ours)
    ids = torch.arange(4, 4 + 60).view(2, 30)
    mask = torch.ones_like(ids).bool()
    types = (ids > 30).long()
    torch.testing.assert_close(ours(ids, mask, types), model(ids, token_type_ids=types).logits, rtol=0, atol=1e-5)
