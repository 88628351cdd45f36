"""The pre-training script from its command line: it learns, resumes exactly, and refuses what it should."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import train_pretrain
from electra import cli
from electra.checkpoint import checkpoints, resolve_checkpoint, step_folder
from electra.config import FinetuneConfig
from electra.finetune import build_classifier, open_start
from electra.prepare import prepare_documents
from electra.runlog import read_metrics
from electra.tokenizer import Tokenizer
from tests.conftest import word_salad

SHAPE = "--num-layers 2 --hidden-size 26 --num-heads 2 --intermediate-size 37 --embedding-size 11".split()
SCHEDULE = "--num-train-steps 8 --num-warmup-steps 2 --batch-size 8 --seq-length 23 --learning-rate 0.01".split()
OFTEN = "--log-every 1 --eval-every 4 --checkpoint-every 2 --keep-checkpoints 9 --eval-rows 16 --precision fp32".split()


def train(data: Path, run_dir: Path, *more: str) -> int:
    argv = ["--data", str(data), "--run-dir", str(run_dir), "--device", "cpu", *SHAPE, *SCHEDULE, *OFTEN, *more]
    return train_pretrain.main(argv)


def failure(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    """The one line that a refused command prints; checks that it is one line, and the exit code."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        cli.run(lambda: train_pretrain.main(argv))
    err = capsys.readouterr().err
    assert stop.value.code == 2
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    return err


def weights(run_dir: Path, step: int) -> bytes:
    return (step_folder(run_dir, step) / "model.pt").read_bytes()


def test_n_updates_equal_half_the_updates_and_the_same_command_again(tiny_data, tmp_path):
    assert train(tiny_data, tmp_path / "straight") == 0
    assert train(tiny_data, tmp_path / "halves", "--stop-after", "4") == 0
    assert train(tiny_data, tmp_path / "halves") == 0
    for name in ("model.pt", "training_state.pt"):
        one = torch.load(step_folder(tmp_path / "straight", 8) / name, weights_only=True)
        two = torch.load(step_folder(tmp_path / "halves", 8) / name, weights_only=True)
        one.pop("elapsed_seconds", 0), two.pop("elapsed_seconds", 0)
        assert_equal_bytes(one, two)
    assert weights(tmp_path / "straight", 8) == weights(tmp_path / "halves", 8)
    steps = [r["step"] for r in read_metrics(tmp_path / "halves" / "metrics.jsonl") if "split" not in r]
    assert steps == list(range(1, 9))


def assert_equal_bytes(one: object, two: object) -> None:
    """Equal types, structure, and bytes of every tensor."""
    assert type(one) is type(two)
    if isinstance(one, dict) and isinstance(two, dict):
        assert list(one) == list(two)
        for key in one:
            assert_equal_bytes(one[key], two[key])
    elif isinstance(one, torch.Tensor) and isinstance(two, torch.Tensor):
        assert one.numpy().tobytes() == two.numpy().tobytes()
    else:
        assert one == two


def test_resuming_with_dropout_is_byte_equal_too(tiny_data, tmp_path):
    dropout = ("--hidden-dropout-prob", "0.3", "--attention-dropout-prob", "0.3")
    train(tiny_data, tmp_path / "straight", *dropout)
    train(tiny_data, tmp_path / "halves", "--stop-after", "3", *dropout)
    train(tiny_data, tmp_path / "halves", *dropout)
    assert weights(tmp_path / "straight", 8) == weights(tmp_path / "halves", 8)


def test_other_seeds_end_elsewhere(tiny_data, tmp_path):
    train(tiny_data, tmp_path / "0")
    train(tiny_data, tmp_path / "1", "--seed", "1")
    assert weights(tmp_path / "0", 8) != weights(tmp_path / "1", 8)


def test_the_run_folder_holds_settings_provenance_metrics_and_checkpoints(tiny_data, tmp_path, capsys):
    train(tiny_data, tmp_path, "--keep-checkpoints", "2")
    assert [path.name for path in checkpoints(tmp_path)] == ["step-0000008", "step-0000006"]
    assert json.loads((tmp_path / "config.json").read_text())["pretrain"]["learning_rate"] == 0.01
    assert json.loads((tmp_path / "provenance.json").read_text())["torch"] == torch.__version__
    training = [r for r in read_metrics(tmp_path / "metrics.jsonl") if "split" not in r]
    assert [r["learning_rate"] for r in training[:4]] == pytest.approx([0.0, 0.005, 0.01, 0.01 * 5 / 6])
    assert {"loss", "masked_lm_loss", "disc_loss", "grad_norm", "tokens_per_second", "elapsed_seconds"} <= set(
        training[0]
    )
    held_out = [r for r in read_metrics(tmp_path / "metrics.jsonl") if r.get("split") == "held-out"]
    assert [r["step"] for r in held_out] == [4, 8]
    out = capsys.readouterr().out
    assert "update 8, held out: loss on [MASK]" in out
    assert "replaced?" in out
    assert out.rstrip().endswith(f"finished: {tmp_path}/step-0000008")


def test_n_updates_asked_are_n_updates_made(tiny_data, tmp_path):
    train(tiny_data, tmp_path)
    state = torch.load(resolve_checkpoint(tmp_path) / "training_state.pt", weights_only=True)
    assert {entry["step"].item() for entry in state["optimizer"]["state"].values()} == {8.0}


def test_a_finished_run_says_so_and_changes_nothing(tiny_data, tmp_path, capsys):
    train(tiny_data, tmp_path)
    before = weights(tmp_path, 8)
    capsys.readouterr()
    assert train(tiny_data, tmp_path) == 0
    assert f"finished: {tmp_path} is at update 8 of 8" in capsys.readouterr().out
    assert weights(tmp_path, 8) == before


def test_the_recipe_and_what_departs_from_it_are_printed(tiny_data, tmp_path, capsys):
    train(tiny_data, tmp_path, "--recipe", "official", "--stop-after", "1")
    out = capsys.readouterr().out
    assert "not as in recipe official, size small: batch_size is 128, asked for 8" in out
    settings = json.loads((tmp_path / "config.json").read_text())["pretrain"]
    assert (settings["bias_correction"], settings["schedule"]) == (False, "warmup_times_linear")


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_16_bit_training_runs_and_keeps_float32_weights(tiny_data, tmp_path, precision):
    assert train(tiny_data, tmp_path, "--precision", precision) == 0
    state = torch.load(step_folder(tmp_path, 8) / "model.pt", weights_only=True)
    assert {tensor.dtype for tensor in state.values()} == {torch.float32}
    losses = [r["loss"] for r in read_metrics(tmp_path / "metrics.jsonl") if "split" not in r]
    assert all(np.isfinite(losses))


def test_micro_batches_give_the_same_first_losses(tiny_data, tmp_path):
    losses = []
    for size in ("0", "3"):
        no_dropout = ("--hidden-dropout-prob", "0", "--attention-dropout-prob", "0")
        train(tiny_data, tmp_path / size, "--micro-batch-size", size, "--stop-after", "3", *no_dropout)
        losses.append([r["loss"] for r in read_metrics(tmp_path / size / "metrics.jsonl") if "split" not in r])
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_training_learns_on_text_with_structure(tmp_path):
    documents = [" ".join(["abc", "def", "ghi", "jkl"][i % 4 : i % 4 + 1] * (30 + i)) for i in range(120)]
    prepare_documents(documents, tmp_path / "data", vocab_size=275)
    argv = ["--num-train-steps", "150", "--stop-after", "150", "--checkpoint-every", "1000", "--eval-every", "150"]
    shape = ["--initializer-range", "0.2", "--generator-size", "1", "--hidden-dropout-prob", "0"]
    train(tmp_path / "data", tmp_path / "run", *argv, *shape, "--log-every", "50")
    held_out = [r for r in read_metrics(tmp_path / "run" / "metrics.jsonl") if "split" in r][-1]
    assert held_out["hidden_masked_lm_loss"] < 0.5 * held_out["unigram_entropy"]


def test_the_control_trains_resumes_and_fine_tunes_like_any_other(tiny_data, tmp_path, capsys):
    train(tiny_data, tmp_path / "straight", "--objective", "mlm")
    train(tiny_data, tmp_path / "halves", "--objective", "mlm", "--stop-after", "3")
    train(tiny_data, tmp_path / "halves", "--objective", "mlm")
    assert weights(tmp_path / "straight", 8) == weights(tmp_path / "halves", 8)
    out = capsys.readouterr().out
    assert re.search(r"matrix-product FLOP in 8 updates; --objective rtd makes \d+ of them", out)
    start = open_start(tmp_path / "straight")
    model = build_classifier(start, 2, FinetuneConfig(), seed=0, from_scratch=False)
    saved = torch.load(step_folder(tmp_path / "straight", 8) / "model.pt", weights_only=True)
    assert torch.equal(
        model.encoder.layers[1].attention.qkv.weight, saved["generator.encoder.layers.1.attention.qkv.weight"]
    )


def test_a_run_can_start_from_anothers_weights_with_a_fresh_schedule(tiny_data, tmp_path):
    train(tiny_data, tmp_path / "source")
    train(tiny_data, tmp_path / "next", "--init-from", str(tmp_path / "source"), "--seed", "5", "--stop-after", "1")
    # the first update of a warm-up has rate 0, so the weights are still the source's
    assert weights(tmp_path / "next", 1) == weights(tmp_path / "source", 8)
    train(tiny_data, tmp_path / "next", "--init-from", str(tmp_path / "source"), "--seed", "5")
    assert weights(tmp_path / "next", 8) != weights(tmp_path / "source", 8)


def test_examples_are_shown_at_each_evaluation_when_asked_for(tiny_data, tmp_path, capsys):
    train(tiny_data, tmp_path, "--log-examples")
    assert capsys.readouterr().out.count("replaced?") >= 2


# --- what is refused ---------------------------------------------------------------------------------------


def test_a_missing_data_folder_is_one_line(tmp_path, capsys):
    err = failure(capsys, "--data", str(tmp_path / "nowhere"), "--run-dir", str(tmp_path / "run"))
    assert "nowhere" in err
    assert "expected" in err
    assert "python -m electra prepare" in err


def test_other_settings_in_a_run_folder_are_refused_naming_each(tiny_data, tmp_path, capsys):
    train(tiny_data, tmp_path, "--stop-after", "2")
    argv = ["--data", str(tiny_data), "--run-dir", str(tmp_path), *SHAPE, *SCHEDULE, *OFTEN]
    err = failure(capsys, *argv, "--seed", "3", "--batch-size", "4", "--num-layers", "1")
    for part in ("num_layers is 2, asked for 1", "seed is 0, asked for 3", "batch_size is 8, asked for 4"):
        assert part in err


def test_shards_of_another_tokenizer_than_the_checkpoint_are_refused(tiny_data, tmp_path, capsys):
    train(tiny_data, tmp_path / "run", "--stop-after", "2")
    prepare_documents(word_salad(120, 40, seed=1), tmp_path / "other", vocab_size=331)
    argv = ["--run-dir", str(tmp_path / "run"), *SHAPE, *SCHEDULE, *OFTEN]
    err = failure(capsys, "--data", str(tmp_path / "other"), *argv)
    ours, theirs = Tokenizer.load(tiny_data).fingerprint[:12], Tokenizer.load(tmp_path / "other").fingerprint[:12]
    assert f"tokenizer fingerprint is {ours}, asked for {theirs}" in err


def test_a_truncated_shard_is_refused(tiny_data, tmp_path, capsys):
    shutil.copytree(tiny_data, tmp_path / "data")
    shard = next((tmp_path / "data").glob("train-*.tokens.npy"))
    shard.write_bytes(shard.read_bytes()[:-10])
    err = failure(capsys, "--data", str(tmp_path / "data"), "--run-dir", str(tmp_path / "run"))
    assert shard.name in err
    assert "expected" in err or "manifest says" in err


def test_a_model_of_another_tokenizer_is_refused_by_name(tiny_data, tmp_path, capsys):
    train(tiny_data, tmp_path / "source", "--stop-after", "2")
    prepare_documents(word_salad(120, 40, seed=1), tmp_path / "other", vocab_size=331)
    argv = ["--data", str(tmp_path / "other"), "--run-dir", str(tmp_path / "run"), *SHAPE, *SCHEDULE, *OFTEN]
    err = failure(capsys, *argv, "--init-from", str(tmp_path / "source"))
    assert f"{tmp_path}/other: expected the tokenizer of {tmp_path}/source/step-0000002 (331 words" in err
    assert "prepare the data with --tokenizer" in err


@pytest.mark.parametrize(
    ("flag", "value", "message"),
    [
        ("--learning-rate", "7", "--learning-rate: expected float >= 0 and <= 1, found 7.0"),
        ("--size", "huge", "--size: expected one of tiny, mini, small, found 'huge'"),
        ("--num-heads", "3", "--num-heads: expected a divisor of --hidden-size 256, found 3"),
        ("--num-warmup-steps", "2000000", "--num-warmup-steps: expected fewer than --num-train-steps 1000000"),
        ("--batch-sise", "3", "did you mean --batch-size?"),
    ],
)
def test_an_impossible_setting_is_one_line(tiny_data, tmp_path, capsys, flag, value, message):
    err = failure(capsys, "--data", str(tiny_data), "--run-dir", str(tmp_path), flag, value)
    assert message in err


def test_a_second_process_on_a_run_folder_is_refused(tiny_data, tmp_path, capsys):
    from electra.files import lock_folder

    with lock_folder(tmp_path):
        err = failure(capsys, "--data", str(tiny_data), "--run-dir", str(tmp_path))
    assert "found it in use by another process" in err
