"""A checkpoint is complete or absent, verified on load, and a run never starts over by accident."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from electra.config import EncoderConfig
from electra.files import FormatError
from electra.model.networks import make_embeddings
from electra.model.transformer import Encoder
from electra.training import checkpoint
from electra.training.checkpoint import (
    checkpoints,
    load_encoder_config,
    load_encoder_weights,
    load_networks,
    load_weights,
    newest_good,
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
def test_a_flipped_byte_in_any_file_is_found(tmp_path, name):
    save(tmp_path, 1)
    flip_a_byte(step_folder(tmp_path, 1) / name)
    with pytest.raises(
        FormatError, match=rf"{name}: expected sha256 [0-9a-f]{{12}}…, found [0-9a-f]{{12}}…; use another"
    ):
        verify(step_folder(tmp_path, 1))


def test_a_missing_file_is_named(tmp_path):
    os.unlink(save(tmp_path, 1) / "model.pt")
    with pytest.raises(FormatError, match=r"model.pt: expected sha256 .*found no such file"):
        verify(step_folder(tmp_path, 1))


def test_a_damaged_newest_means_the_one_before_said_loudly(tmp_path, capsys):
    good = save(tmp_path, 1)
    flip_a_byte(save(tmp_path, 2) / "model.pt")
    assert newest_good(tmp_path) == good
    err = capsys.readouterr().err
    assert "WARNING: damaged checkpoint" in err
    assert "damaged-step-0000002-0, falling back" in err
    assert [path.name for path in checkpoints(tmp_path)] == ["step-0000001"]


def test_a_truncated_newest_means_the_one_before(tmp_path):
    good = save(tmp_path, 1)
    path = save(tmp_path, 2) / "training_state.pt"
    path.write_bytes(path.read_bytes()[:-100])
    assert newest_good(tmp_path) == good


def test_with_only_damaged_checkpoints_the_run_is_refused_now_and_later(tmp_path):
    flip_a_byte(save(tmp_path, 1) / "model.pt")
    for _ in range(2):  # the second time the damaged one has been moved aside
        with pytest.raises(FormatError, match="expected a good checkpoint, found only damaged ones; delete the folder"):
            newest_good(tmp_path)


def test_a_damaged_checkpoint_that_is_reached_again_is_moved_aside_not_overwritten(tmp_path):
    folder = save(tmp_path, 5)
    flip_a_byte(folder / "model.pt")
    before = (folder / "model.pt").read_bytes()
    save(tmp_path, 5, seed=1)
    verify(folder)
    assert (tmp_path / "damaged-step-0000005-0" / "model.pt").read_bytes() == before


def test_an_empty_run_folder_has_no_checkpoint(tmp_path):
    assert newest_good(tmp_path) is None


def test_a_save_that_fails_leaves_the_one_before_and_no_partial_folder(tmp_path, monkeypatch):
    good = save(tmp_path, 1)

    def disk_full(path: Path, content: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "_write_synced", disk_full)
    with pytest.raises(OSError, match="No space left"):
        save(tmp_path, 2)
    assert [path.name for path in tmp_path.iterdir()] == ["step-0000001"]
    verify(good)


def test_starting_from_a_pair_takes_both_networks(tmp_path):
    model = tiny_electra(seed=2)
    load_networks(save(tmp_path, 1, seed=4), model, "both")
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), new_state(4).model.parameters(), strict=True))


def test_starting_from_a_discriminator_alone_is_a_choice(tmp_path):
    folder = save(tmp_path, 1, seed=4)
    weights = torch.load(folder / "model.pt")
    torch.save({name: t for name, t in weights.items() if name.startswith("discriminator.")}, folder / "model.pt")
    model, fresh, saved = tiny_electra(seed=2), tiny_electra(seed=2), new_state(4).model
    with pytest.raises(FormatError, match="found the discriminator alone; pass --init-networks discriminator"):
        load_networks(folder, model, "both")
    load_networks(folder, model, "discriminator")
    assert torch.equal(model.discriminator.output.weight, saved.get_parameter("discriminator.output.weight"))
    assert torch.equal(model.generator.dense.weight, fresh.generator.dense.weight)
    shared = "generator.encoder.embeddings.word.weight"
    assert torch.equal(model.get_parameter(shared), saved.get_parameter(shared))


def test_a_run_folder_or_a_checkpoint_in_it_is_accepted(tmp_path):
    save(tmp_path, 1)
    newest = save(tmp_path, 2)
    assert resolve_checkpoint(tmp_path) == newest
    assert resolve_checkpoint(step_folder(tmp_path, 1)) == step_folder(tmp_path, 1)


def test_what_is_no_checkpoint_is_refused(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"nowhere: expected a checkpoint or a run folder, found nothing; train one"
    ):
        resolve_checkpoint(tmp_path / "nowhere")
    (tmp_path / "file").write_text("x")
    with pytest.raises(FileNotFoundError, match="file: expected a checkpoint or a run folder, found a file; train one"):
        resolve_checkpoint(tmp_path / "file")
    with pytest.raises(
        FormatError, match=r"expected a checkpoint, found no manifest.json; name a run or a step folder"
    ):
        resolve_checkpoint(tmp_path)
    (tmp_path / "manifest.json").write_text('{"version": 1}')  # say, of token shards
    with pytest.raises(FormatError, match="expected a checkpoint, found something else; name a run or a step folder"):
        resolve_checkpoint(tmp_path)


def test_weights_of_another_shape_are_refused_by_name(tmp_path):
    folder = save(tmp_path, 1)
    with pytest.raises(FormatError, match=r"size mismatch for discriminator.encoder.embeddings.word.weight"):
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


def test_the_encoder_config_of_a_checkpoint_is_read_strictly(tmp_path):
    folder = save(tmp_path, 1)
    assert load_encoder_config(folder) == EncoderConfig(**SETTINGS["encoder"])
