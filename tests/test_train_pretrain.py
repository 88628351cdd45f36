"""The pre-training script from its command line: it learns, resumes exactly, and refuses what it should."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils._pytree import tree_leaves

import train_pretrain
from electra.config import EncoderConfig, FinetuneConfig, PretrainConfig
from electra.data.prepare import prepare_documents
from electra.data.shards import open_shards
from electra.data.windows import WindowSampler
from electra.files import lock_folder
from electra.glue.finetune import build_classifier, open_start
from electra.model.networks import Electra, initialize_weights
from electra.pretrain.masking import make_batch
from electra.pretrain.objective import Counts, replaced_token_detection
from electra.pretrain.run import choose_launch, milestone_steps
from electra.seeding import derive_seed, random_stream
from electra.tokenizer.byte_level import Tokenizer
from electra.training import devices
from electra.training.checkpoint import checkpoints, load_encoder_config, load_weights, step_folder
from electra.training.ranks import Ranks
from electra.training.state import TrainingState
from tests.conftest import word_salad
from tests.helpers.graphs import Graph
from tests.helpers.pretraining import (
    ALONE,
    NO_DROPOUT,
    arguments,
    failure,
    held_out_records,
    opened,
    train,
    training_records,
    weights,
)


def test_n_updates_equal_half_the_updates_and_the_same_command_again(tiny_data, tmp_path, capsys):
    assert train(tiny_data, tmp_path / "straight") == 0
    assert train(tiny_data, tmp_path / "halves", "--stop-after", "3") == 0
    assert train(tiny_data, tmp_path / "halves") == 0
    assert opened(tiny_data, tmp_path / "halves").shape.hidden_dropout_prob == 0.1
    for name in ("model.pt", "training_state.pt"):
        one = torch.load(step_folder(tmp_path / "straight", 8) / name, weights_only=True)
        two = torch.load(step_folder(tmp_path / "halves", 8) / name, weights_only=True)
        one.pop("elapsed_seconds", 0), two.pop("elapsed_seconds", 0)
        for ours, theirs in zip(tree_leaves(one), tree_leaves(two), strict=True):
            assert torch.equal(ours, theirs) if isinstance(ours, torch.Tensor) else ours == theirs
    assert {entry["step"].item() for entry in one["optimizer"]["state"].values()} == {8.0}  # 8 asked, 8 made
    before = weights(tmp_path / "halves", 8)
    assert weights(tmp_path / "straight", 8) == before
    assert [record["step"] for record in training_records(tmp_path / "halves")] == list(range(1, 9))
    capsys.readouterr()
    assert train(tiny_data, tmp_path / "halves") == 0
    assert f"finished: {tmp_path}/halves is at update 8 of 8" in capsys.readouterr().out
    assert weights(tmp_path / "halves", 8) == before


def test_the_run_folder_holds_settings_provenance_metrics_checkpoints_and_milestones(tiny_data, tmp_path, capsys):
    train(tiny_data, tmp_path, "--keep-checkpoints", "2", "--log-examples")
    assert [path.name for path in checkpoints(tmp_path)] == ["step-0000008", "step-0000006"]
    milestones = [int(path.name.removeprefix("step-")) for path in checkpoints(tmp_path / "milestones")]
    assert milestones == [8, 6, 4, 2, 1, 0]  # all, 3/4, 1/2, 1/4, 1/8 and the start; 1/16 of 8 is none
    settings = json.loads((tmp_path / "config.json").read_text())
    assert settings["pretrain"]["learning_rate"] == 0.01
    assert settings["held_out"] == open_shards(tiny_data, "held-out").fingerprint != settings["shards"]
    assert json.loads((tmp_path / "provenance.json").read_text())["torch"] == torch.__version__
    training = training_records(tmp_path)
    assert [r["learning_rate"] for r in training[:4]] == pytest.approx([0.0, 0.005, 0.01, 0.01 * 5 / 6])
    assert {
        *("loss", "masked_lm_loss", "disc_loss", "grad_norm", "num_skipped"),
        *("tokens_per_second", "elapsed_seconds", "peak_memory_bytes"),
    } <= set(training[0])
    held_out = held_out_records(tmp_path)
    assert [r["step"] for r in held_out] == [4, 8]
    out = capsys.readouterr().out
    assert "update 8, held out: loss on [MASK]" in out
    assert out.count("replaced?") >= 2
    assert out.rstrip().endswith(f"finished: {tmp_path}/step-0000008")


def test_milestones_of_a_million_updates_are_the_columns_of_table_2():
    milestones = milestone_steps(PretrainConfig())
    assert milestones == {0, 62_500, 125_000, 250_000, 500_000, 750_000, 1_000_000}
    short = PretrainConfig(num_train_steps=90, num_warmup_steps=9)
    assert milestone_steps(short) == {0, 6, 11, 22, 45, 68, 90}  # the nearest updates


def test_the_recipe_and_what_departs_from_it_are_printed(tiny_data, tmp_path, capsys):
    train(tiny_data, tmp_path, "--recipe", "official", "--stop-after", "1")
    out = capsys.readouterr().out
    assert "not as in recipe official, size small: batch_size is 128, asked for 8" in out
    settings = json.loads((tmp_path / "config.json").read_text())["pretrain"]
    assert (settings["bias_correction"], settings["schedule"]) == (False, "warmup_times_linear")


HORIZONS = {
    "--data d --num-train-steps 30": (0, 30, 30),  # table 5 warms up for 1 %
    "--data d --num-train-steps 250": (2, 250, 250),
    "--data d --num-train-steps 30000": (300, 10_000, 10_000),
    "--data d --num-train-steps 30 --num-warmup-steps 7 --eval-every 99": (7, 99, 30),
    "--data d --size mini --num-train-steps 300": (6, 300, 200),  # 2 %
    "--num-train-steps 30": (3, 30, 30),  # the demo, 12.5 %
    "--data d --num-train-steps 1": (0, 1, 1),
}


@pytest.mark.parametrize("flags", HORIZONS)
def test_warm_up_and_intervals_follow_the_horizon_where_they_are_not_given(flags):
    config, _, notes = train_pretrain.parse(flags.split())
    assert (config.num_warmup_steps, config.eval_every, config.checkpoint_every) == HORIZONS[flags]
    assert ("--num-warmup-steps follows" in notes[-1]) == ("--num-warmup-steps" not in flags)
    assert not any("num_warmup_steps is" in note for note in notes) or "--num-warmup-steps" in flags


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_16_bit_training_runs_and_keeps_float32_weights(tiny_data, tmp_path, precision):
    assert train(tiny_data, tmp_path, "--precision", precision) == 0
    state = torch.load(step_folder(tmp_path, 8) / "model.pt", weights_only=True)
    assert {tensor.dtype for tensor in state.values()} == {torch.float32}
    assert all(np.isfinite([record["loss"] for record in training_records(tmp_path)]))


def test_fp16_starts_at_a_scale_of_2_to_the_11_and_its_gradients_are_unscaled_before_the_clip(tiny_data, tmp_path):
    norms = []
    for precision in ("fp32", "fp16"):
        train(tiny_data, tmp_path / precision, "--precision", precision, "--stop-after", "1", *NO_DROPOUT)
        norms += [record["grad_norm"] for record in training_records(tmp_path / precision)]
    assert norms[1] == pytest.approx(norms[0], rel=0.02)
    saved = torch.load(step_folder(tmp_path / "fp16", 1) / "training_state.pt", weights_only=True)
    assert saved["scaler"]["scale"] == 2_048  # grows after 2,000 updates without an overflow


def test_training_learns_on_text_with_structure(tmp_path):
    documents = [" ".join(["abc", "def", "ghi", "jkl"][i % 4 : i % 4 + 1] * (30 + i)) for i in range(120)]
    prepare_documents(documents, tmp_path / "data", vocab_size=275)
    argv = ["--num-train-steps", "150", "--stop-after", "150", "--checkpoint-every", "1000", "--eval-every", "150"]
    shape = ["--initializer-range", "0.2", "--generator-size", "1", "--hidden-dropout-prob", "0"]
    train(tmp_path / "data", tmp_path / "run", *argv, *shape, "--log-every", "50")
    (held_out,) = held_out_records(tmp_path / "run")
    assert held_out["masked_only_lm_loss"] < 0.5 * held_out["unigram_loss"]


def test_the_control_trains_resumes_and_fine_tunes_like_any_other(tiny_data, tmp_path, capsys):
    train(tiny_data, tmp_path / "straight", "--objective", "mlm")
    train(tiny_data, tmp_path / "halves", "--objective", "mlm", "--stop-after", "3")
    train(tiny_data, tmp_path / "halves", "--objective", "mlm")
    assert weights(tmp_path / "straight", 8) == weights(tmp_path / "halves", 8)
    out = capsys.readouterr().out
    assert re.search(r"matrix-product FLOP in 8 updates; --objective rtd makes \d+ at this cost", out)
    start = open_start(tmp_path / "straight")
    model = build_classifier(start, 2, FinetuneConfig(), seed=0, from_scratch=False)
    saved = torch.load(step_folder(tmp_path / "straight", 8) / "model.pt", weights_only=True)
    name = "encoder.layers.1.attention.qkv.weight"
    assert torch.equal(model.get_parameter(name), saved[f"generator.{name}"])


def test_a_run_can_start_from_anothers_weights_with_a_fresh_schedule(tiny_data, tmp_path):
    train(tiny_data, tmp_path / "source", "--stop-after", "4")
    train(tiny_data, tmp_path / "next", "--init-from", str(tmp_path / "source"), "--seed", "5", "--stop-after", "2")
    # the first update of a warm-up has rate 0, so the weights are still the source's
    assert weights(tmp_path / "next" / "milestones", 1) == weights(tmp_path / "source", 4)
    assert weights(tmp_path / "next", 2) != weights(tmp_path / "source", 4)


def loop_by_hand(data: Path, num_steps: int) -> list[torch.Tensor]:
    """The weights after the updates of `test_every_setting_reaches_the_loop`, made with torch's own optimizer."""
    tokenizer, shards = Tokenizer.load(data), open_shards(data)
    shape = EncoderConfig(
        vocab_size=331, num_layers=2, hidden_size=26, num_heads=2, intermediate_size=37, embedding_size=11,
        hidden_dropout_prob=0.2, attention_dropout_prob=0.3,
    )  # fmt: skip
    model = Electra(shape, 0.5)
    initialize_weights(model, random_stream(3, "init"), 0.02)
    decayed = [p for p in model.parameters() if p.ndim == 2]
    spared = [p for p in model.parameters() if p.ndim < 2]
    groups = [{"params": decayed, "weight_decay": 0.3}, {"params": spared, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=0.0, betas=(0.8, 0.95), eps=1e-3)
    windows = WindowSampler(
        shards, special_ids=tokenizer.special_ids, batch_size=8, seq_length=23, seed=3, sampling="tokens"
    )
    for step in range(num_steps):
        rows = windows.sample(step)
        batch = make_batch(rows, step, special_ids=tokenizer.special_ids, mask_prob=0.3, mask_token_prob=0.6, seed=3)
        counts = Counts(batch.is_target.sum(), torch.tensor((rows != 0).sum()))
        for index, start in enumerate((0, 3, 6)):
            torch.manual_seed(derive_seed(3, "dropout", step, 0, index))
            part = batch.rows(start, start + 3, torch.device("cpu"))
            seen = replaced_token_detection(model, part, counts, 2.0, 20.0)
            (2.0 * seen.masked_lm_loss + 20.0 * seen.disc_loss).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        for group in optimizer.param_groups:
            group["lr"] = 0.01 * (min(1, step / 2) if step < 2 else (8 - step) / 6)
        optimizer.step()
        optimizer.zero_grad()
    return [p.detach() for p in model.parameters()]


def test_every_setting_reaches_the_loop(tiny_data, tmp_path):
    torch.set_default_dtype(torch.float64)
    try:
        settings = (
            "--seed 3 --hidden-dropout-prob 0.2 --attention-dropout-prob 0.3 --generator-size 0.5 --gen-weight 2 "
            "--disc-weight 20 --adam-beta1 0.8 --adam-beta2 0.95 --adam-epsilon 0.001 --weight-decay 0.3 "
            "--mask-prob 0.3 --mask-token-prob 0.6 --max-grad-norm 0.5 --micro-batch-size 3 --sampling tokens "
            "--stop-after 6"
        )
        train(tiny_data, tmp_path, *settings.split())
        expected = loop_by_hand(tiny_data, 6)
        model = Electra(load_encoder_config(step_folder(tmp_path, 6)), 0.5)
    finally:
        torch.set_default_dtype(torch.float32)
    load_weights(step_folder(tmp_path, 6), model)
    for ours, theirs in zip(model.parameters(), expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-9)


def test_dropout_differs_between_updates_ranks_and_micro_batches(tiny_data, tmp_path, monkeypatch):
    run = opened(tiny_data, tmp_path, "--micro-batch-size", "2", "--seed", "7")
    places = []
    monkeypatch.setattr(devices, "seed_dropout", lambda *place: places.append(place))
    monkeypatch.setattr(Ranks, "sum_gradients", lambda *_: None)  # the second of two ranks, without the first
    for ranks in (ALONE, Ranks(1, 2, ALONE.device)):
        next(train_pretrain.updates(run, ranks))
    assert places == [(7, 0, 0, index) for index in range(4)] + [(7, 1, 1, index) for index in range(2)]


def test_nothing_waits_for_the_device_within_an_update(tiny_data, tmp_path):
    updates, operators = train_pretrain.updates(opened(tiny_data, tmp_path), ALONE), Graph()
    next(updates)
    with operators:  # which refuses .item(), int(), float() and bool() of a tensor, and boolean indexing
        next(updates)
    assert {"mm", "addmm"} & {function.overloadpacket.__name__ for function, *_ in operators.calls}


@pytest.mark.parametrize(("flag", "expected"), [("on", 1), ("off", 0), ("auto", 0)])
def test_the_objective_is_compiled_on_a_cpu_only_when_asked(tiny_data, tmp_path, monkeypatch, flag, expected):
    compiled = []
    monkeypatch.setenv("CC", "true")  # any program
    monkeypatch.setattr(torch, "compile", lambda function, dynamic: compiled.append(function) or function)
    next(train_pretrain.updates(opened(tiny_data, tmp_path, "--compile", flag), ALONE))
    assert [function.__name__ for function in compiled] == ["compute_losses"] * expected


def test_a_missing_c_compiler_is_named_before_torch_needs_it(monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(ValueError, match="--compile: expected a C compiler"):
        choose_launch(PretrainConfig(compile="on"), torch.device("cpu"))


def test_evaluation_reads_held_out_documents(tiny_data, tmp_path):
    run = opened(tiny_data, tmp_path)
    documents = [" ".join(map(str, tokens)) + " " for tokens in open_shards(tiny_data, "held-out").documents()]
    for row in run.held_out.batch.input_ids.tolist():
        text = " ".join(str(token) for token in row if token > 3) + " "
        assert any(text in document for document in documents)


def test_data_of_another_tokenizer_than_the_models_are_refused_when_a_run_goes_on_and_when_it_starts(
    tiny_data, tmp_path, capsys
):
    train(tiny_data, tmp_path / "run", "--stop-after", "2")
    prepare_documents(word_salad(120, 40, seed=1), tmp_path / "other", vocab_size=331)
    err = failure(capsys, *arguments(tmp_path / "other", tmp_path / "run"))
    ours, theirs = Tokenizer.load(tiny_data).fingerprint[:12], Tokenizer.load(tmp_path / "other").fingerprint[:12]
    assert f"tokenizer is '{ours}', asked for '{theirs}'" in err
    err = failure(capsys, *arguments(tmp_path / "other", tmp_path / "new", "--init-from", str(tmp_path / "run")))
    assert f"{tmp_path}/other: the tokenizer is not that of {tmp_path}/run/step-0000002; prepare the data with" in err


def test_a_first_mistake_does_not_bind_the_run_folder(tiny_data, tmp_path, capsys):
    err = failure(capsys, *["--data", str(tiny_data), "--run-dir", str(tmp_path), "--seq-length", "600"])
    assert "--seq-length 600 is above --max-position-embeddings 512" in err
    err = failure(capsys, *arguments(tiny_data, tmp_path, "--init-networks", "discriminator"))
    assert "--init-networks: expected --init-from, found none" in err
    train(tiny_data, tmp_path, "--stop-after", "1", "--milestones", "0", "--seed", "7")
    shutil.rmtree(step_folder(tmp_path, 1))  # killed before its first checkpoint
    assert train(tiny_data, tmp_path) == 0
    train(tiny_data, tmp_path / "straight")
    assert weights(tmp_path, 8) == weights(tmp_path / "straight", 8)
    assert weights(tmp_path / "milestones", 0) == weights(tmp_path / "straight" / "milestones", 0)
    for checkpoint in checkpoints(tmp_path):  # later milestones are results, so they bind it
        shutil.rmtree(checkpoint)
    err = failure(capsys, *arguments(tiny_data, tmp_path, "--seed", "9"))
    assert f"{tmp_path}: this run began with other settings: seed is 0, asked for 9; repeat" in err


def test_a_run_that_ends_before_its_last_checkpoint_is_saved_has_its_last_milestone(tiny_data, tmp_path, monkeypatch):
    monkeypatch.setattr(TrainingState, "save", lambda *_: exit("killed"))
    with pytest.raises(SystemExit, match="killed"):
        train(tiny_data, tmp_path, "--checkpoint-every", "99")
    assert checkpoints(tmp_path / "milestones")[0].name == "step-0000008"
    assert checkpoints(tmp_path) == []


@pytest.mark.parametrize("damage", ["no folder", "no shard", "a shard cut short"])
def test_missing_or_damaged_data_are_one_line_that_names_them(tiny_data, tmp_path, capsys, damage):
    shutil.copytree(tiny_data, tmp_path / "data")
    named = shard = next((tmp_path / "data").glob("train-*.tokens.npy"))
    if damage == "no folder":
        named = tmp_path / "data"
        shutil.rmtree(named)
    elif damage == "no shard":
        shard.unlink()
    else:
        shard.write_bytes(shard.read_bytes()[:-10])
    err = failure(capsys, *arguments(tmp_path / "data", tmp_path / "run"))
    assert named.name in err
    assert "python -m electra prepare" in err


def test_a_second_process_on_a_run_folder_is_refused(tiny_data, tmp_path, capsys):
    with lock_folder(tmp_path):
        err = failure(capsys, "--data", str(tiny_data), "--run-dir", str(tmp_path))
    assert "another process is using this folder" in err
