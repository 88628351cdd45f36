"""The state that a checkpoint restores, its way to the disk, and the run that it belongs to."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch

from electra.files import FormatError
from electra.training.checkpoint import load_weights, step_folder, verify
from electra.training.state import check_same_run
from tests.conftest import tiny_electra
from tests.helpers.states import SETTINGS, new_state


def test_a_checkpoint_restores_weights_optimizer_scaler_and_loop_state(tmp_path):
    saved, other = new_state(seed=1, step=7, loss_scale=2.0**5), new_state(seed=2, loss_scale=2.0**11)
    saved.num_skipped, saved.num_skipped_in_a_row = torch.tensor(3.0), torch.tensor(2.0)  # as after an update
    saved.scaler.scale(torch.zeros(()))  # the scaler makes its state at first use
    other.restore(saved.save(tmp_path, 9))
    assert (other.step, other.elapsed_seconds) == (7, 7.0)
    assert (other.num_skipped, other.num_skipped_in_a_row) == (3.0, 2.0)
    assert other.scaler.get_scale() == 2.0**5
    for a, b in zip(saved.model.parameters(), other.model.parameters(), strict=True):
        assert torch.equal(a, b)
        for name in ("exp_avg", "exp_avg_sq", "step"):
            assert torch.equal(saved.optimizer.state[a][name], other.optimizer.state[b][name])
    embeddings = [network.encoder.embeddings for network in (other.model.generator, other.model.discriminator)]
    assert embeddings[0].word.weight is embeddings[1].word.weight


def test_a_checkpoint_is_on_disk_before_it_has_its_name_and_its_name_is_on_disk_too(tmp_path, monkeypatch):
    synced = []
    fsync = os.fsync

    def noted(descriptor: int) -> None:
        synced.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")).relative_to(tmp_path))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    folder = new_state(step=5).save(tmp_path, 9)
    partial = synced[0].parent
    assert partial != Path(folder.name)
    files = {path.name for path in folder.iterdir()}
    assert len(files) == 5
    assert set(synced[:5]) == {partial / name for name in files}
    assert synced[5:] == [partial, Path(".")]


def test_a_milestone_holds_weights_only_and_those_of_the_last_run(tmp_path):
    state = new_state(step=5)
    state.save_milestone(tmp_path)
    folder = step_folder(tmp_path / "milestones", 5)
    verify(folder)
    assert not (folder / "training_state.pt").exists()
    new_state(seed=1, step=5).save_milestone(tmp_path)  # another run begins in a folder without a checkpoint
    other = tiny_electra(seed=3)
    load_weights(folder, other)
    assert torch.equal(other.generator.dense.weight, new_state(seed=1).model.get_parameter("generator.dense.weight"))
    with pytest.raises(FormatError, match=r"no training_state.pt, only weights; resume from another"):
        new_state().restore(folder)


def test_a_run_goes_on_under_its_own_settings_other_free_ones_and_a_former_name_of_its_recipe(tmp_path):
    former = {**SETTINGS, "pretrain": {**SETTINGS["pretrain"], "recipe": "report"}}
    (tmp_path / "config.json").write_text(json.dumps(former))
    check_same_run(tmp_path, {**SETTINGS, "pretrain": {**SETTINGS["pretrain"], "micro_batch_size": 4, "device": "cpu"}})


def test_other_settings_are_refused_naming_each_difference(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({**SETTINGS, "held_out": "e" * 64}))
    asked = {
        "encoder": {**SETTINGS["encoder"], "num_layers": 3},
        "pretrain": {**SETTINGS["pretrain"], "learning_rate": 1e-3, "seed": 5, "init_from": "other"},
        "tokenizer": "c" * 64,
        "shards": "d" * 64,
        "held_out": "f" * 64,
    }
    with pytest.raises(FormatError) as error:
        check_same_run(tmp_path, asked)
    for part in (
        "num_layers is 2, asked for 3",
        "seed is 0, asked for 5",
        "learning_rate is 0.0005, asked for 0.001",
        "init_from is '', asked for 'other'",
        "tokenizer is 'aaaaaaaaaaaa', asked for 'cccccccccccc'",
        "shards is 'bbbbbbbbbbbb', asked for 'dddddddddddd'",
        "held_out is 'eeeeeeeeeeee', asked for 'ffffffffffff'",
        "repeat that run's command, or choose another --run-dir",
    ):
        assert part in str(error.value)
