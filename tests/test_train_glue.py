"""The fine-tuning command: what it learns, records, repeats and refuses; and that an update is a reference's update."""

from __future__ import annotations

import argparse
import csv
import dataclasses
import functools
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch

import train_glue
from electra import cli
from electra.config import FinetuneConfig
from electra.files import PRETRAINED, read_json
from electra.glue import finetune, inputs
from electra.glue.batches import training_batches
from electra.glue.download import fetch_task
from electra.glue.finetune import Start, build_classifier, open_start, predict_rows
from electra.glue.inputs import Data, parse_seeds, read_data
from electra.glue.results import read_results
from electra.glue.tasks import TASKS
from electra.model.networks import SequenceClassifier
from tests.helpers.glue_files import checkpoint, glue_data, make_glue, reviews

__all__ = ["checkpoint", "glue_data"]

CPU = torch.device("cpu")
QUICK = ["--batch-size", "16", "--num-epochs", "1", "--precision", "fp32", "--seeds", "1", "--allow-other-sizes"]


@pytest.fixture
def glue(checkpoint: Path, glue_data: Path, tmp_path: Path) -> Callable[..., int]:
    """`main` on the small world, results under `tmp_path / "out"`."""

    def main(*flags: str) -> int:
        places = ["--checkpoint", str(checkpoint), "--data-dir", str(glue_data), "--out", str(tmp_path / "out")]
        return train_glue.main([*places, *QUICK, *flags])

    return main


def records(tmp_path: Path) -> list[dict[str, Any]]:
    return read_results(tmp_path / "out")


def predicted(tmp_path: Path, record: dict[str, Any], split: str) -> list[dict[str, str]]:
    """The rows of a prediction file."""
    with open(tmp_path / "out" / record["predictions"][split]) as file:
        return [*csv.DictReader(file, delimiter="\t")]


# --- what it does -----------------------------------------------------------------------------------------


def test_recorded_updates_learn_what_updates_launched_kernel_by_kernel_learn(glue, tmp_path, recording_device):
    flags, losses = ("--task", "stsb", "--num-epochs", "4", "--device", recording_device.type), []
    for launch in ("--no-cuda-graph", "--cuda-graph"):
        assert glue(*flags, launch, "--out", str(tmp_path / launch)) == 0
        losses.append(read_results(tmp_path / launch)[0]["train_loss"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_a_run_leaves_a_record_with_all_that_its_number_needs(glue: Callable[..., int], tmp_path: Path) -> None:
    assert glue("--task", "cola", "--learning-rate", "0.001") == 0
    (record,) = records(tmp_path)
    assert (record["task"], record["seed"], record["main_metric"]) == ("cola", 0, "matthews")
    assert record["metrics"].keys() == {"matthews", "accuracy"}
    assert record["overrides"] == {"num_epochs": 1, "batch_size": 16, "learning_rate": 0.001, "precision": "fp32"}
    assert record["recipe"] == "mercier"
    assert (record["checkpoint_step"], len(record["checkpoint_sha256"])) == (7, 64)
    assert {split: facts["num_rows"] for split, facts in record["data"].items()} == {"train": 61, "dev": 23}
    assert all(len(facts["sha256"]) == 64 for facts in record["data"].values())
    assert record["num_updates"] == 4  # ceil(61 / 16), one epoch
    assert record["num_skipped"] == 0
    assert record["precision"] == "fp32"
    assert record["provenance"].keys() >= {"commit", "device", "torch", "command"}
    assert record["train_seconds"] > 0
    assert 0.1 < record["train_loss"] < 2  # nats a row; two classes start near 0.69


def test_every_row_is_predicted_once_in_the_files_order_and_test_files_when_asked(glue, glue_data, tmp_path, capsys):
    glue("--task", "cola", "--predict-test")
    (record,) = records(tmp_path)
    rows, names = predicted(tmp_path, record, "dev"), ("unacceptable", "acceptable")
    assert [row["label"] for row in rows] == [names[label] for _, label in reviews(23, 5)]
    assert record["metrics"]["accuracy"] == float(np.mean([row["prediction"] == row["label"] for row in rows]))
    assert len(predicted(tmp_path, record, "test")) == 11
    assert "label" not in predicted(tmp_path, record, "test")[0]
    praise = sum(label for _, label in reviews(23, 5))
    expected = f"cola dev: {glue_data}/CoLA/dev.tsv: 23 rows, unacceptable {23 - praise}, acceptable {praise}"
    assert expected in capsys.readouterr().out.splitlines()


def test_it_learns_what_a_tiny_model_can(glue: Callable[..., int], tmp_path: Path) -> None:
    glue("--task", "cola,stsb", "--num-epochs", "12", "--learning-rate", "0.01")
    cola, stsb = records(tmp_path)
    assert cola["metrics"]["accuracy"] >= 0.9  # the words tell; 23 rows, chance is about a half
    assert stsb["metrics"]["spearman"] >= 0.7
    assert not cola["failed"]


def test_the_closing_table_names_spread_and_protocol(glue, capsys, tmp_path):
    glue("--task", "cola", "--seeds", "3", "--max-seq-length", "5")
    lines = capsys.readouterr().out.splitlines()
    assert any(line.endswith(", 61 rows cut to 5 tokens") for line in lines)
    assert "not as in recipe mercier: num_epochs is 0, asked for 1" in lines
    assert any(line.split() == ["layer", "2", "0.8000", "x", "0.0003", "=", "0.00024"] for line in lines)
    row = next(line for line in lines if line.startswith("cola matthews*")).split()
    values = [100 * record["metrics"]["matthews"] for record in records(tmp_path)]
    assert row[2] == "3"
    assert [float(cell) for cell in row[3:7]] == pytest.approx(
        [np.mean(values), np.std(values, ddof=1), np.median(values), max(values)], abs=0.005
    )
    assert any(line.startswith("AVG") and "not measured: no mnli, " in line for line in lines)
    assert any("dev files, model of the last update, every seed counted" in line for line in lines)


def test_runs_that_are_finished_are_not_run_again_and_a_stopped_job_goes_on(glue, tmp_path, capsys, monkeypatch):
    glue("--task", "cola", "--seeds", "3")
    whole = records(tmp_path)
    path = tmp_path / "out" / "results.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text(lines[0] + lines[1][:100])  # killed while the second record was written
    ran: list[int] = []
    run = train_glue.run

    def counted(*arguments: Any) -> dict[str, Any]:
        ran.append(arguments[4]["seed"])
        return run(*arguments)

    monkeypatch.setattr(train_glue, "run", counted)
    capsys.readouterr()
    glue("--task", "cola", "--seeds", "3")
    assert ran == [1, 2]
    assert "cola seed 0: finished before" in capsys.readouterr().out
    again = records(tmp_path)
    assert [r["metrics"] for r in again] == [r["metrics"] for r in whole]  # the same seeds say the same
    assert [r["train_loss"] for r in again] == [r["train_loss"] for r in whole]


def test_a_finished_run_is_made_again_to_keep_its_model_and_then_stands_there_once(glue, tmp_path, capsys):
    glue("--task", "cola")
    (before,) = records(tmp_path)
    capsys.readouterr()
    glue("--task", "cola", "--save-models")
    (after,) = records(tmp_path)
    assert (before["model"], before["metrics"]) == (None, after["metrics"])
    folder = tmp_path / "out" / after["model"]
    assert f'python -m electra predict --checkpoint {folder} "..."\n' in capsys.readouterr().out
    assert read_json(folder / "config.json")["text_columns"] == ["sentence"]
    glue("--task", "cola", "--save-models")
    assert "cola seed 0: finished before" in capsys.readouterr().out


def test_a_model_that_an_interrupted_run_left_is_replaced_by_its_own_repetition(glue, tmp_path):
    glue("--task", "cola", "--save-models")
    (record,) = records(tmp_path)
    (tmp_path / "out" / "results.jsonl").unlink()  # as if killed between model and record
    (tmp_path / "out" / record["model"] / "model.pt").write_bytes(b"cut")
    glue("--task", "cola", "--save-models")
    assert [path.name for path in (tmp_path / "out" / "models").iterdir()] == [Path(record["model"]).name]
    assert open_start(tmp_path / "out" / record["model"], task="cola").step == 4


def test_a_run_that_predicts_one_class_for_every_row_is_warned_of_and_counted(glue, checkpoint, tmp_path, capsys):
    data = make_glue(tmp_path / "data")
    lines = (data / "CoLA" / "dev.tsv").read_text().splitlines()
    texts = [line.rsplit("\t", 1)[0] + "\tthe film was good\n" for line in lines]
    (data / "CoLA" / "dev.tsv").write_text("".join(texts))  # one text for every row: one answer
    glue("--task", "cola", "--data-dir", str(data))
    (record,) = records(tmp_path)
    assert record["failed"] is True
    assert record["metrics"]["matthews"] == 0.0
    assert "cola seed 0: matthews 0.00" in (out := capsys.readouterr().out)
    assert "WARNING: failed, the same answer for every input" in out


def test_from_scratch_is_another_protocol_with_a_table_of_its_own(glue, tmp_path, capsys):
    glue("--task", "cola", "--seeds", "2")
    capsys.readouterr()
    glue("--task", "cola", "--from-scratch")
    loaded, _, scratch = records(tmp_path)
    assert (loaded["from_scratch"], scratch["from_scratch"]) == (False, True)
    assert loaded["protocol_id"] != scratch["protocol_id"]
    assert loaded["train_loss"] != scratch["train_loss"]
    out = capsys.readouterr().out
    assert "random weights in the shape of" in out
    assert next(line for line in out.splitlines() if line.startswith("cola matthews*")).split()[2] == "1"


def test_all_runs_the_tasks_whose_files_are_there_and_names_the_others(glue, checkpoint, tmp_path, capsys, glue_data):
    glue("--task", "all")
    *_, mnli = found = records(tmp_path)
    assert [record["task"] for record in found] == ["cola", "stsb", "mnli"]
    assert mnli["metrics"].keys() == {"accuracy_matched", "accuracy_mismatched"}
    assert mnli["predictions"].keys() == {"dev_matched", "dev_mismatched"}
    out = capsys.readouterr().out
    for title in ("SST-2", "MRPC", "QQP", "QNLI", "RTE", "WNLI"):
        name = title.lower().replace("-", "")
        assert f"{name}: not run, no {glue_data}/{title}/train.tsv; run python -m electra glue download" in out
    assert exit_code(["--task", "all", "--checkpoint", str(checkpoint), "--data-dir", str(tmp_path)]) == 2
    assert "expected the files of some task, found none; fetch them with" in capsys.readouterr().err


def test_missing_data_is_fetched_and_offline_that_is_one_line(checkpoint, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(inputs, "fetch_task", functools.partial(fetch_task, base_url="http://127.0.0.1:9/"))
    assert exit_code(["--task", "cola", "--checkpoint", str(checkpoint), "--data-dir", str(tmp_path)]) == 2
    captured = capsys.readouterr()
    assert f"cola: fetching CoLA into {tmp_path}/" in captured.out
    assert captured.err.startswith("error: http://127.0.0.1:9/glue/data/CoLA.zip: expected CoLA.zip, found ")


def test_pair_swap_doubles_only_the_tasks_it_is_for_and_only_in_training(glue: Callable[..., int], tmp_path: Path):
    glue("--task", "stsb,mnli", "--pair-swap")
    stsb, mnli = records(tmp_path)
    assert stsb["data"]["train"]["num_rows"] == 122
    assert stsb["data"]["dev"]["num_rows"] == 23
    assert stsb["num_updates"] == 8  # ceil(122 / 16)
    assert mnli["data"]["train"]["num_rows"] == 61


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_sixteen_bit_training_learns_too(glue: Callable[..., int], tmp_path: Path, precision: str) -> None:
    glue("--task", "cola", "--precision", precision, "--num-epochs", "12", "--learning-rate", "0.01")
    (record,) = records(tmp_path)
    assert record["precision"] == precision
    assert record["metrics"]["accuracy"] >= 0.85


def test_an_mnli_model_can_start_the_tasks_it_is_said_to_help_and_every_number_says_so(glue, tmp_path, capsys):
    glue("--task", "mnli", "--save-models")
    (model,) = (tmp_path / "out" / "models").iterdir()
    assert f'predict --checkpoint {model} "..." --text-pair "..."\n' in capsys.readouterr().out
    glue("--task", "cola,stsb", "--init-from-mnli", str(model))
    _, cola, stsb = records(tmp_path)
    assert cola["init_from_mnli"] == stsb["init_from_mnli"] == str(model)
    assert f"mrpc, stsb, rte from MNLI model {model}" in capsys.readouterr().out
    glue("--task", "cola,stsb")
    *_, plain_cola, plain_stsb = records(tmp_path)
    assert plain_cola["train_loss"] == cola["train_loss"]  # CoLA starts from the checkpoint either way
    assert plain_stsb["train_loss"] != stsb["train_loss"]


def test_an_own_task_needs_no_code(glue: Callable[..., int], tmp_path: Path) -> None:
    for name, num_rows, seed in (("train", 61, 3), ("dev", 23, 5)):
        rows = [{"review": text, "mood": "glad" if label else "sad"} for text, label in reviews(num_rows, seed)]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    files = ["--train-file", str(tmp_path / "train.jsonl"), "--dev-file", str(tmp_path / "dev.jsonl")]
    columns = ["--text-column", "review", "--label-column", "mood", "--metric", "f1"]
    glue("--task", "moods", *files, *columns, "--num-epochs", "12", "--learning-rate", "0.01")
    (record,) = records(tmp_path)
    facts = record["task"], record["main_metric"], {*record["metrics"]}
    assert facts == ("moods", "f1", {"accuracy", "f1", "matthews"})
    assert record["metrics"]["f1"] >= 0.9
    assert [*predicted(tmp_path, record, "dev")[0]] == ["index", "prediction", "label", "glad", "sad"]
    with pytest.raises(ValueError, match="--dev-file: expected rows that are not learned from, found --train-file's"):
        glue("--task", "moods", *files, *columns, "--dev-file", str(tmp_path / "train.jsonl"))
    (tmp_path / "dev.jsonl").unlink()
    with pytest.raises(FileNotFoundError, match=r"dev.jsonl: expected a file of rows, found none; correct the file"):
        glue("--task", "moods", *files, *columns)


# --- what it refuses --------------------------------------------------------------------------------------


def exit_code(argv: Sequence[str]) -> int:
    """What the command exits with."""
    with pytest.raises(SystemExit) as caught:
        cli.run(lambda: train_glue.main(argv))
    return int(caught.value.code or 0)


OWN = ["--train-file", "a.csv", "--dev-file", "b.csv", "--label-column", "y", "--metric", "f1"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--task", "coal"], "--task: expected one of cola, sst2, .*, found 'coal'; choose one of them"),
        ([], "--task: expected all, or some of cola, .*, found none; name one"),
        (["--task", "cola", "--out", "setup.py"], "setup.py: File exists; a file is where a folder should be, choose"),
        (["--task", "cola", "--seeds", "0"], "--seeds: expected a count from 1, or a list like 0,1,2, found '0'"),
        (["--task", "cola", "--seeds", "1,1"], "--seeds: expected .* found '1,1'"),
        (["--task", "cola", "--seeds", "five"], "--seeds: expected .* found 'five'"),
        (["--task", "cola", "--seeds=-1,2"], "--seeds: expected .* found '-1,2'"),
        (["--task", "cola", "--checkpoint", "nowhere"], "nowhere: expected a checkpoint or run folder, found"),
        (["--task", "cola", "--checkpoint", "tests"], "tests: expected a checkpoint, found no manifest.json"),
        (["--task", "cola", "--learning-rate", "2"], "--learning-rate: expected float >= 0 and <= 1, found 2.0"),
        (["--task", "cola", "--poling", "first"], "unrecognized arguments: --poling.* did you mean --pooling?"),
        (["--task", "cola", "--init-from-mnli", "x", "--from-scratch"], "--init-from-mnli: expected a start from a"),
        (["--train-file", "a.tsv"], "a task of your own: expected --dev-file, --text-column, --label-column, --me"),
        (["--task", "cola", "--metric", "f1"], "--metric: expected a task of your own, found no --train-file; drop"),
        (["--train-file", "a.tsv", "--pair-swap"], "--pair-swap: expected an official task, found --train-file; drop"),
        ([*OWN, "--text-column", "y"], "a task of your own: expected different columns, found one in two flags; cor"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line_and_exit_code_2(checkpoint, glue_data, capsys, flags, message):
    places = ["--data-dir", str(glue_data), "--out", "never-made", "--checkpoint", str(checkpoint)]
    assert exit_code([*places, *flags]) == 2
    error = capsys.readouterr().err
    assert (bool(re.search(message, error)), error.count("\n")) == (True, 1), error
    assert not Path("never-made").exists()


@pytest.mark.parametrize("name", ["STS-B", "all", "a,b", "../up", "a\x1b[31mb"])
def test_an_own_tasks_name_is_no_official_one_and_fit_for_files_and_terminals(checkpoint, tmp_path, capsys, name):
    columns = ["--text-column", "a", "--label-column", "b", "--metric", "f1"]
    files = ["--train-file", str(tmp_path / "a.tsv"), "--dev-file", str(tmp_path / "a.tsv")]
    assert exit_code(["--task", name, "--checkpoint", str(checkpoint), *files, *columns]) == 2
    problem = f"--task: expected a name of your own for your own files, found {name!r}; choose another"
    assert re.fullmatch(f"error: [ -~]*{re.escape(problem)}[ -~]*\n", capsys.readouterr().err)


def test_without_a_checkpoint_and_a_run_the_model_that_ships_is_used(glue_data, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    fast = ["--task", "cola", "--seeds", "1", "--num-epochs", "1", "--data-dir", str(glue_data), "--allow-other-sizes"]
    assert exit_code([*fast, "--max-seq-length", "8"]) == 0
    assert capsys.readouterr().err.startswith("note: no run in runs/pretrain; using mini, the model that ships with")
    assert read_results(tmp_path / "runs/glue")[0]["checkpoint"] == str(PRETRAINED / "mini")


@pytest.mark.parametrize(("text", "seeds"), [("1", [0]), ("5", [0, 1, 2, 3, 4]), ("0,1,2", [0, 1, 2]), ("7,", [7])])
def test_seeds_are_a_count_or_a_list(text: str, seeds: list[int]) -> None:
    assert parse_seeds(text) == seeds


def test_the_official_recipe_is_the_releases_fine_tuning(capsys: pytest.CaptureFixture[str]) -> None:
    _, config = train_glue.parse(["--recipe", "official"])
    ours, theirs = dataclasses.asdict(FinetuneConfig()), dataclasses.asdict(config)
    assert {name: (ours[name], theirs[name]) for name in ours if ours[name] != theirs[name]} == {
        "recipe": ("mercier", "official"),
        "learning_rate": (3e-4, 1e-4),
        "weight_decay": (0.0, 0.01),
        "schedule": ("warmup_then_linear", "warmup_times_linear"),
        "bias_correction": (True, False),
        "pooling": ("mean", "first"),
        "head": ("mlp", "linear"),
        "loss_reduction": ("mean", "sum"),
        "layerwise_lr_top_exponent": (1, 2),
        "pair_swap": (False, True),
    }
    assert capsys.readouterr().out == ""  # nothing differs from the recipe
    _, config = train_glue.parse(["--recipe", "official", "--no-pair-swap"])
    assert (config.pair_swap, config.pooling) == (False, "first")
    assert capsys.readouterr().out == "not as in recipe official: pair_swap is True, asked for False\n"


# --- the loop ---------------------------------------------------------------------------------------------


def few_rows(data: Data, num_rows: int) -> Data:
    """The task with only the first rows to learn from."""
    rows, features = data.rows["train"], data.features["train"]
    rows = dataclasses.replace(rows, first=rows.first[:num_rows], labels=rows.labels[:num_rows])
    starts, seconds = features.starts[: num_rows + 1], features.second_starts[:num_rows]
    return data._replace(
        rows={"train": rows}, features={"train": dataclasses.replace(features, starts=starts, second_starts=seconds)}
    )


@pytest.fixture
def opened(checkpoint: Path, glue_data: Path) -> Callable[..., tuple[Start, Data, SequenceClassifier]]:
    """The start, the data and the model at update 0 of a configuration; CoLA if no task is named."""

    def build(config: FinetuneConfig, name: str = "cola") -> tuple[Start, Data, SequenceClassifier]:
        start = open_start(checkpoint)
        asked = argparse.Namespace(data_dir=glue_data, predict_test=False, allow_other_sizes=True)
        data = read_data(TASKS[name], asked, config, start)
        return start, data, build_classifier(start, data.task.num_outputs, config, 0)

    return build


def exact(**changes: Any) -> FinetuneConfig:
    """Six updates of eight rows, three in warm-up and three past it, without dropout."""
    settings = {"num_epochs": 2, "batch_size": 8, "dropout": 0.0, "precision": "fp32", "warmup_fraction": 0.5}
    return FinetuneConfig(**{**settings, "learning_rate": 1e-2, **changes})


def trained(start: Start, data: Data, config: FinetuneConfig, scale: float = 1.0) -> SequenceClassifier:
    """A float64 model after `train`; its head starts `scale` times as large."""
    model = build_classifier(start, data.task.num_outputs, config, 0).double()
    model.output.weight.data.mul_(scale)
    train_glue.train(model, data, config, 0, CPU)
    return model


@pytest.mark.parametrize("loss_reduction", ["mean", "sum"])
@pytest.mark.parametrize("name", ["cola", "stsb"])
def test_micro_batches_of_any_size_make_the_same_updates(opened: Callable[..., Any], name: str, loss_reduction: str):
    config = exact(loss_reduction=loss_reduction)
    start, data, model = opened(config, name)
    data = few_rows(data, 21) if name == "cola" else data
    initial = model.double().state_dict()
    weights = [
        trained(start, data, dataclasses.replace(config, micro_batch_size=size)).state_dict() for size in (0, 3, 1)
    ]
    for name, tensor in initial.items():
        assert (weights[0][name] - tensor).abs().max() > 1e-4 or name.endswith("token_type.weight"), name
        for other in weights[1:]:
            assert (weights[0][name] - other[name]).abs().max() < 1e-10, name


@pytest.mark.parametrize(
    "change",
    [
        *(
            {"layerwise_lr_decay": 0.5},
            {"layerwise_lr_top_exponent": 2},
            {"max_grad_norm": 0.01},
            {"weight_decay": 0.1},
        ),
        *({"adam_beta1": 0.8}, {"adam_beta2": 0.9}, {"adam_epsilon": 1e-3}, {"bias_correction": False}),
        *({"loss_reduction": "sum"}, {"warmup_fraction": 0.0}, {"schedule": "warmup_times_linear"}, {"dropout": 0.1}),
        *({"pooling": "first"}, {"head": "linear"}, {"length_buckets": False}, {"num_epochs": 1}, {"batch_size": 4}),
    ],
    ids=lambda change: next(iter(change)),
)
def test_every_setting_of_a_protocol_changes_what_is_learned(opened: Callable[..., Any], change: dict[str, Any]):
    start, data, _ = opened(exact())
    plain, changed = (trained(start, few_rows(data, 24), exact(**more)).state_dict() for more in ({}, change))
    name = "encoder.layers.0.feed_forward.inner.weight"
    assert not torch.equal(plain[name], changed[name])


def test_the_number_of_updates_is_the_epochs_times_the_batches_of_one(opened, monkeypatch):
    rates: list[float] = []
    monkeypatch.setattr(train_glue, "set_update", lambda optimizer, rate, *_: rates.append(rate))
    batches = mock.Mock(wraps=training_batches)
    monkeypatch.setattr(train_glue, "training_batches", batches)
    config = exact(num_epochs=0, learning_rate=1.0)
    for name, num_epochs in (("cola", 3), ("stsb", 10)):
        _, data, model = opened(config, name)
        num_updates = num_epochs * 8  # ceil(61 / 8)
        assert train_glue.train(model, data, config, 0, CPU)["num_updates"] == num_updates
        assert [call.args[3] for call in batches.call_args_list[-num_epochs:]] == [*range(num_epochs)]
        assert rates[-1] == pytest.approx(1 / (num_updates / 2))  # half of them warm up; rate 0 comes after the last


def test_the_recorded_loss_is_the_mean_over_the_rows_of_the_last_epoch(opened: Callable[..., Any]) -> None:
    config, noisy = exact(learning_rate=0.0), exact(learning_rate=0.0, dropout=0.5)
    _, data, model = opened(config)
    outputs = torch.from_numpy(predict_rows(model, data.features["train"], config, CPU))
    expected = torch.nn.functional.cross_entropy(outputs, torch.from_numpy(data.rows["train"].labels)).item()
    assert train_glue.train(model, data, config, 0, CPU)["train_loss"] == pytest.approx(expected, rel=1e-5)
    # Nothing was learned at rate 0, so only dropout can make another loss, the same one for the same seed.
    losses = [train_glue.train(opened(noisy)[2], data, noisy, seed, CPU)["train_loss"] for seed in (0, 0, 1)]
    assert losses[0] == losses[1] != losses[2]
    assert abs(losses[0] - expected) > 1e-4


def test_updates_without_a_finite_gradient_are_skipped_and_counted_and_an_epoch_of_them_is_refused(opened, monkeypatch):
    _, data, model = opened(exact())
    model.output.bias.data[0] = torch.inf
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(FloatingPointError, match="train_loss: expected finite numbers, found nan or inf; lower"):
        train_glue.train(model, data, exact(), 0, CPU)
    monkeypatch.setattr(finetune, "check_finite", lambda what, values: None)
    facts = train_glue.train(model, data, exact(), 0, CPU)
    assert facts["num_skipped"] == facts["num_updates"] == 16
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize(
    ("schedule", "rates"),
    [
        # 0.3 x 8 updates = 2.4, which the release leaves as it is and Mercier's library cuts to 2
        ("warmup_times_linear", [min(1, step / 2.4) * (1 - step / 8) for step in range(8)]),
        ("warmup_then_linear", [0, 1 / 2, *((8 - step) / 6 for step in range(2, 8))]),
    ],
)
def test_the_warm_up_is_rounded_down_but_for_the_releases_schedule(opened, monkeypatch, schedule, rates):
    found: list[float] = []
    monkeypatch.setattr(train_glue, "set_update", lambda optimizer, rate, *_: found.append(rate))
    config = exact(num_epochs=1, warmup_fraction=0.3, schedule=schedule, learning_rate=1.0)
    _, data, model = opened(config)
    train_glue.train(model, data, config, 0, CPU)
    assert found == pytest.approx(rates, abs=1e-12)


def test_gradients_of_sixteen_bit_training_are_clipped_at_their_true_size(opened: Callable[..., Any]) -> None:
    changes = {}
    for precision in ("fp32", "fp16"):
        # With a large epsilon an update is as large as its gradient; here no true norm reaches the clip.
        config = exact(precision=precision, adam_epsilon=1.0, max_grad_norm=100.0, num_epochs=1)
        _, data, model = opened(config)
        before = model.output.weight.detach().clone()
        train_glue.train(model, few_rows(data, 16), config, 0, CPU)
        changes[precision] = (model.output.weight - before).norm().item()
    assert changes["fp16"] == pytest.approx(changes["fp32"], rel=0.02)
