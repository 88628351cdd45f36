"""`python -m electra detect | predict` as a person and as a program use them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from electra import cli
from electra.config import FinetuneConfig
from electra.glue.finetune import build_classifier, open_start, save_classifier
from electra.glue.tasks import TASKS, Task
from electra.inference.command import main_detect, main_predict
from electra.inference.predict import detect, open_classifier, open_detector, predict
from tests.helpers.glue_files import checkpoint

__all__ = ["checkpoint"]


@pytest.fixture(scope="session")
def folder(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Untrained models of CoLA, RTE and STS-B; not to be changed."""
    out = tmp_path_factory.mktemp("models")
    start, config = open_start(checkpoint), FinetuneConfig(precision="fp32")
    for name in ("cola", "rte", "stsb"):
        task: Task = TASKS[name]
        save_classifier(out / name, build_classifier(start, task.num_outputs, config, 3), start, config, task, 11)
    return out


def test_detect_shows_each_token_over_its_probability_plain_in_a_pipe(checkpoint, capsys):
    main_detect(["the film was", "--checkpoint", str(checkpoint), "--device", "cpu"])
    captured = capsys.readouterr()
    (found,) = detect(["the film was"], open_detector(checkpoint))
    shown, replaced, *_ = captured.out.split("\n")
    assert shown.split() == ["shown", *(token.strip() for token in found.tokens)]
    assert [word.rstrip("!") for word in replaced.split()] == ["replaced?", *(f"{p:.0%}" for p in found.replaced_probs)]
    assert "\033" not in captured.out
    assert captured.err == f"model: {checkpoint}/step-0000007 (update 7)\n"


def test_a_terminal_gets_color(checkpoint, capsys, monkeypatch):
    monkeypatch.setattr(cli, "is_colored", lambda: True)
    main_detect(["the film was bad, dull and cold", "--checkpoint", str(checkpoint)])
    assert "\033[1;31m" in capsys.readouterr().out


def test_programs_get_one_json_object_a_text(checkpoint: Path, folder: Path, capsys: pytest.CaptureFixture[str]):
    main_detect(["the film", "naïve", "--checkpoint", str(checkpoint), "--json"])
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == [
        {"text": found.text, "tokens": found.tokens, "replaced_probs": found.replaced_probs}
        for found in detect(["the film", "naïve"], open_detector(checkpoint))
    ]
    main_predict(["the film", "a book", "--checkpoint", str(folder / "cola"), "--json"])
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert first.keys() == second.keys() == {"text", "label", "probs"}
    assert first["probs"] == predict(["the film", "a book"], None, open_classifier(folder / "cola"))[0].probs
    main_predict(["a", "--text-pair", "b", "--checkpoint", str(folder / "stsb"), "--json"])
    assert json.loads(capsys.readouterr().out).keys() == {"text", "text_pair", "score"}


def test_predict_names_labels_from_the_likeliest_with_probabilities(folder: Path, capsys: pytest.CaptureFixture[str]):
    main_predict(["the film", "--checkpoint", str(folder / "cola")])
    line = capsys.readouterr().out
    (found,) = predict(["the film"], None, open_classifier(folder / "cola"))
    (first, p), (second, q) = sorted(found.probs.items(), key=lambda item: item[1], reverse=True)
    assert line == f"{first} {p:.3f}, {second} {q:.3f}\tthe film\n"
    assert {first, second} == {"acceptable", "unacceptable"}
    main_predict(["a", "--text-pair", "b", "--checkpoint", str(folder / "stsb")])
    (found,) = predict(["a"], ["b"], open_classifier(folder / "stsb"))
    assert capsys.readouterr().out == f"{found.score:.6g}\ta\tb\n"


def test_control_characters_never_reach_a_terminal(checkpoint, folder, capsys):
    text = "a\033[2J\u009b\u202e book\n\0"
    for main, places in ((main_detect, checkpoint), (main_predict, folder / "cola")):
        main([text, "--checkpoint", str(places)])
        assert not re.search("[^\n\t -~é\ufffd]", capsys.readouterr().out)
        main([text, "--checkpoint", str(places), "--json"])
        out = capsys.readouterr().out
        assert json.loads(out)["text"] == text
        assert re.fullmatch("[ -~]*\n", out)


def test_a_file_is_read_by_the_columns_of_training(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "new.csv").write_text("sentence2,sentence1\na day,a book\nthat song,the film\n")
    main_predict(["--file", str(tmp_path / "new.csv"), "--checkpoint", str(folder / "rte")])
    out, err = capsys.readouterr()
    assert [line.split("\t")[1:] for line in out.splitlines()] == [["a book", "a day"], ["the film", "that song"]]
    assert err.endswith("new.csv: 2 rows\n")


def error_of(main: Callable[[list[str]], None], argv: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as caught:
        cli.run(lambda: main(argv))
    assert caught.value.code == 2
    return "".join(line for line in capsys.readouterr().err.splitlines(keepends=True) if not line.startswith("model:"))


def test_a_mistake_is_one_line(checkpoint: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    cola, rte = ["--checkpoint", str(folder / "cola")], ["--checkpoint", str(folder / "rte")]
    (tmp_path / "new.tsv").write_text("text\na book\n")
    file = ["--file", str(tmp_path / "new.tsv")]
    for main, argv, message in (
        (main_detect, [], 'TEXT: expected a text, found none; try python -m electra detect "'),
        (main_detect, ["x", "--checkpoint", "nowhere"], "nowhere: expected a checkpoint or run folder, found"),
        (main_predict, cola, "TEXT: expected texts or --file, found neither; give one"),
        (main_predict, ["x", *file, *cola], "TEXT: expected texts or --file, found both; give one"),
        (main_predict, ["x", "--checkpoint", str(checkpoint)], "expected a fine-tuned model, found a pre-trained one"),
        (main_predict, ["--text-pair", "x", *file, *rte], "TEXT: expected texts or --file, found both; give one"),
        (main_predict, ["x", *rte], "expected sentence1 and sentence2, found 1 text(s); add the second (--text-pair)"),
        (main_predict, [*file, *cola], "new.tsv: expected a column 'sentence', found 'text'; "),
        (main_predict, ["--file", "none.csv", *cola], "none.csv: expected a file of rows, found none; "),
    ):
        error = error_of(main, argv, capsys)
        assert (error[:7], message in error, error.count("\n")) == ("error: ", True, 1), error
