"""A checkpoint is complete or absent, verified on load, and a run never starts over by accident."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch

from electra.config import FinetuneConfig
from electra.files import PRETRAINED, FormatError, write_json
from electra.model.networks import MaskedLM, make_embeddings
from electra.model.transformer import Encoder
from electra.training.checkpoint import (
    default_checkpoint,
    load_encoder_config,
    load_encoder_weights,
    load_networks,
    load_weights,
    newest_good,
    read_settings,
    resolve_checkpoint,
    step_folder,
    verify,
)
from tests.conftest import tiny_electra, tiny_shape
from tests.helpers.states import SETTINGS, new_state


def save(run_dir: Path, step: int, seed: int = 0, keep: int = 9) -> Path:
    return new_state(seed, step).save(run_dir, keep)


def flip_a_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_a_checkpoint_holds_five_files_with_their_digests(tmp_path):
    folder = save(tmp_path, 62_500)
    assert folder.name == "step-0062500"
    names = {"config.json", "states.py", "model.pt", "training_state.pt"}
    assert {path.name for path in folder.iterdir()} == names | {"manifest.json"}
    manifest = verify(folder)
    assert set(manifest["sha256"]) == names
    assert manifest["step"] == 62_500


@pytest.mark.parametrize("name", ["model.pt", "training_state.pt", "config.json", "states.py"])
def test_a_flipped_byte_in_any_file_or_a_missing_file_is_found(tmp_path, name):
    file = save(tmp_path, 1) / name
    flip_a_byte(file)
    with pytest.raises(FormatError, match=rf"{name}: expected sha256 [0-9a-f]{{12}}…, found another or no file; use"):
        verify(file.parent)
    file.unlink()
    with pytest.raises(FormatError, match=f"{name}: expected sha256"):
        verify(file.parent)


def test_with_only_damaged_checkpoints_the_run_is_refused_now_and_later(tmp_path):
    flip_a_byte(save(tmp_path, 1) / "model.pt")
    for _ in range(2):  # the second time the damaged one has been moved aside
        with pytest.raises(FormatError, match="all checkpoints are damaged; delete the folder to start over"):
            newest_good(tmp_path)


def test_a_good_checkpoint_that_is_written_again_is_replaced_and_leaves_nothing_beside_it(tmp_path):
    folder = save(tmp_path, 5)
    save(tmp_path, 5, seed=1)
    model = tiny_electra(seed=3)
    load_weights(folder, model)
    assert torch.equal(model.generator.dense.weight, new_state(seed=1).model.get_parameter("generator.dense.weight"))
    assert [path.name for path in tmp_path.iterdir()] == ["step-0000005"]


def test_what_a_killed_process_left_is_removed_by_the_run_that_goes_on(tmp_path):
    for folder in (tmp_path, tmp_path / "milestones"):
        save(folder, 1).rename(folder / ".step-0000001.0123abcd.partial")
    assert newest_good(tmp_path) is None
    assert [*tmp_path.rglob("*")] == [tmp_path / "milestones"]


def test_a_save_that_fails_leaves_the_one_before_and_no_partial_folder(tmp_path, monkeypatch):
    good = save(tmp_path, 1)

    def disk_full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", disk_full)
    with pytest.raises(OSError, match=r"No space left on device: '.*/config.json'"):
        save(tmp_path, 2)
    assert [path.name for path in tmp_path.iterdir()] == ["step-0000001"]
    verify(good)


def test_starting_from_a_pair_takes_both_networks(tmp_path):
    model = tiny_electra(seed=2)
    load_networks(save(tmp_path, 1, seed=4), model, "both", SETTINGS)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), new_state(4).model.parameters(), strict=True))


def test_starting_from_a_discriminator_alone_is_a_choice(tmp_path):
    folder = save(tmp_path, 1, seed=4)
    weights = torch.load(folder / "model.pt")
    torch.save({name: t for name, t in weights.items() if name.startswith("discriminator.")}, folder / "model.pt")
    model, fresh, saved = tiny_electra(seed=2), tiny_electra(seed=2), new_state(4).model
    with pytest.raises(FormatError, match="it has no generator; pass --init-networks discriminator to start a new one"):
        load_networks(folder, model, "both", SETTINGS)
    load_networks(folder, model, "discriminator", SETTINGS)
    assert torch.equal(model.discriminator.output.weight, saved.get_parameter("discriminator.output.weight"))
    assert torch.equal(model.generator.dense.weight, fresh.generator.dense.weight)
    shared = "generator.encoder.embeddings.word.weight"
    assert torch.equal(model.get_parameter(shared), saved.get_parameter(shared))


@pytest.mark.parametrize("networks", ["both", "discriminator"])
def test_another_shape_is_refused_with_all_the_flags_that_make_it_equal(tmp_path, networks):
    folder = save(tmp_path, 1)
    changes = {"num_layers": 3, "num_heads": 1, "max_position_embeddings": 200}
    asked = {key: {**SETTINGS[key], **changes, "generator_size": 0.5} for key in ("encoder", "pretrain")}
    flags = "--num-layers 2 --num-heads 2 --max-position-embeddings 31"
    flags += " --generator-size 0.25" if networks == "both" else ""
    with pytest.raises(FormatError) as error:
        load_networks(folder, tiny_electra(tiny_shape(**changes)), networks, asked)
    assert str(error.value) == f"{folder}: its shape is not the shape asked for; add {flags}"


def test_a_masked_lm_gives_its_encoder_to_the_discriminator_whose_head_starts_new(tmp_path):
    folder, model, fresh = save(tmp_path, 1), tiny_electra(seed=2), tiny_electra(seed=2)
    control = MaskedLM(tiny_shape())
    torch.save(control.state_dict(), folder / "model.pt")
    with pytest.raises(FormatError, match="it has no discriminator; pass --init-networks discriminator to start a new"):
        load_networks(folder, model, "both", SETTINGS)
    load_networks(folder, model, "discriminator", SETTINGS)
    pairs = zip(model.discriminator.encoder.parameters(), control.generator.encoder.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    for name in ("discriminator.dense.weight", "generator.encoder.layers.0.attention.qkv.weight"):
        assert torch.equal(model.get_parameter(name), fresh.get_parameter(name))


def test_the_name_of_a_shipped_model_is_taken_for_its_path_where_nothing_has_that_path(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("run/.step-0000001.0123abcd.partial").mkdir(parents=True)  # its first checkpoint is being written
    assert resolve_checkpoint(Path("mini")) == default_checkpoint(Path("run")) == PRETRAINED / "mini"
    assert capsys.readouterr().err.startswith("note: no run in run; using mini, the model that ships with this")
    own = save(Path("mini"), 3)
    assert (resolve_checkpoint(Path("mini")), default_checkpoint(Path("mini"))) == (own, Path("mini"))
    assert capsys.readouterr().err == ""
    assert default_checkpoint(Path("run")) == PRETRAINED / "mini"  # and not the user's folder of that name


def test_a_run_folder_or_a_checkpoint_in_it_is_accepted(tmp_path):
    save(tmp_path, 1)
    newest = save(tmp_path, 2)
    assert resolve_checkpoint(tmp_path) == newest
    assert resolve_checkpoint(step_folder(tmp_path, 1)) == step_folder(tmp_path, 1)


def test_what_is_no_checkpoint_is_refused(tmp_path):
    (tmp_path / "file").write_text("x")
    for name in ("nowhere", "file"):
        with pytest.raises(FileNotFoundError, match=f"{name}: expected a checkpoint or run folder"):
            resolve_checkpoint(tmp_path / name)
    with pytest.raises(FormatError, match=r"expected a checkpoint, found no manifest.json; name a run"):
        resolve_checkpoint(tmp_path)
    for manifest, message in (
        ({"format_version": 1, "step": 3, "sha256": ["model.pt"]}, r"expected dict.* as 'sha256', found a list"),
        ({"format_version": 9, "step": 3, "sha256": {}}, "expected format version 1; use the package version"),
        ({"version": 1}, "expected int as 'format_version', found no such field"),  # say, of token shards
    ):
        write_json(tmp_path / "manifest.json", manifest)
        with pytest.raises(FormatError, match=f"manifest.json: {message}"):
            resolve_checkpoint(tmp_path)


def test_weights_of_another_shape_are_refused_by_name(tmp_path):
    folder = save(tmp_path, 1)
    message = r"word.weight of shape \[89, 11\] instead of \[97, 11\]; generator.bias of .*; name"
    with pytest.raises(FormatError, match=message):
        load_weights(folder, tiny_electra(tiny_shape(vocab_size=97)))


def test_the_discriminators_encoder_is_what_fine_tuning_starts_from(tmp_path):
    folder = save(tmp_path, 1, seed=4)
    shape = tiny_shape()
    encoder = Encoder(shape, make_embeddings(shape)).double()
    load_encoder_weights(folder, encoder)
    saved = new_state(seed=4).model.discriminator.encoder
    for (name, ours), theirs in zip(encoder.named_parameters(), saved.parameters(), strict=True):
        assert torch.equal(ours, theirs), name
    assert load_encoder_config(folder) == shape


def test_loading_never_runs_pickled_code(tmp_path):
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(tmp_path / "ran"),)

    folder = save(tmp_path, 1)
    torch.save({"weight": Evil()}, folder / "model.pt")
    with pytest.raises(FormatError, match=r"model.pt: expected tensors"):
        load_weights(folder, tiny_electra())
    assert not (tmp_path / "ran").exists()


FINETUNED = {"finetune": vars(FinetuneConfig()), "task": "own", "labels": ["n", "p"], "score_range": [0.0, 1.0]}


@pytest.mark.parametrize(
    ("settings", "change", "message"),
    [
        (SETTINGS, {"pretrain": -1}, "expected dict as 'pretrain', found -1"),
        (SETTINGS, {"pretrain": {"batch_size": "x"}}, "--batch-size: expected int >= 1, found 'x'"),
        (FINETUNED, {"labels": 5}, r"expected list\[str\] as 'labels', found 5"),
        ({}, {}, "expected dict as 'pretrain', found no such field"),
    ],
)
def test_the_settings_of_a_checkpoint_are_checked_where_they_are_read(tmp_path, settings, change, message):
    write_json(tmp_path / "config.json", settings)
    assert not settings or read_settings(tmp_path) == json.loads((tmp_path / "config.json").read_text())
    write_json(tmp_path / "config.json", {**settings, **change})
    with pytest.raises(FormatError, match=rf"^{tmp_path}/config.json: {message}"):
        read_settings(tmp_path)
