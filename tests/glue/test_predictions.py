"""Predictions survive a file; a submission is what the server wants or is refused by file and line."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest

from electra.files import FormatError
from electra.glue.predictions import (
    SUBMISSION_FILES,
    Predictions,
    check_submission,
    check_submission_lines,
    read_predictions,
    submission_lines,
    write_predictions,
    write_submission,
)
from electra.glue.tasks import TASKS
from tests.helpers.glue_files import small_tests, write_all

__all__ = ["small_tests"]


def test_classes_are_written_as_words_beside_gold_and_outputs(tmp_path: Path) -> None:
    path = tmp_path / "new" / "cola.tsv"
    outputs = np.array([[0.25, -1.5], [1e-9, 3.0]], np.float32)
    write_predictions(path, TASKS["cola"], Predictions(np.array([0, 1]), np.array([1, 1])), outputs)
    assert path.read_text() == (
        "index\tprediction\tlabel\tunacceptable\tacceptable\n"
        "0\tunacceptable\tacceptable\t0.25\t-1.5\n"
        "1\tacceptable\tacceptable\t9.99999972e-10\t3\n"
    )


@pytest.mark.parametrize(
    ("name", "values", "labels"),
    [
        ("mnli", np.array([2, 0, 1]), np.array([0, 0, 1])),
        ("stsb", np.array([0.1, -0.2, 5.3]), np.array([1 / 3, 0.0, 5.0])),
        ("wnli", np.array([1, 0]), None),
    ],
)
def test_predictions_come_back_as_they_were(
    tmp_path: Path, name: str, values: np.ndarray, labels: np.ndarray | None
) -> None:
    path = tmp_path / "p.tsv"
    write_predictions(path, TASKS[name], Predictions(values, labels), np.zeros((len(values), 1)))
    found = read_predictions(path, TASKS[name].labels)
    assert found.values.tolist() == values.tolist()
    assert found.values.dtype == values.dtype
    assert (None if found.labels is None else found.labels.tolist()) == (None if labels is None else labels.tolist())


def test_predictions_of_another_task_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "p.tsv"
    write_predictions(path, TASKS["cola"], Predictions(np.array([0]), None), np.zeros((1, 2)))
    with pytest.raises(FormatError, match="expected entailment or not_entailment, found 'unacceptable'"):
        read_predictions(path, TASKS["rte"].labels)
    with pytest.raises(FileNotFoundError, match="expected predictions, found none"):
        read_predictions(tmp_path / "none.tsv", TASKS["rte"].labels)


@pytest.mark.usefixtures("small_tests")
def test_the_same_predictions_make_the_same_bytes(tmp_path: Path) -> None:
    sources = write_all(tmp_path)
    for name in ("one.zip", "two.zip"):
        write_submission(tmp_path / name, sources, wnli_majority=True)
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()


@pytest.mark.usefixtures("small_tests")
def test_the_majority_option_answers_not_entailment_and_needs_no_wnli_model(tmp_path: Path) -> None:
    sources = write_all(tmp_path, but="WNLI.tsv")
    with pytest.raises(FormatError, match=r"expected predictions of test by a WNLI model, found none"):
        write_submission(tmp_path / "s.zip", sources, wnli_majority=False)
    write_submission(tmp_path / "s.zip", sources, wnli_majority=True)
    with zipfile.ZipFile(tmp_path / "s.zip") as archive:
        assert archive.read("WNLI.tsv").count(b"\t0\n") == 146


@pytest.mark.usefixtures("small_tests")
def test_a_submission_without_the_diagnostic_set_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="expected predictions of diagnostic by a MNLI model"):
        write_submission(tmp_path / "s.zip", write_all(tmp_path, but="AX.tsv"), wnli_majority=True)
    assert not (tmp_path / "s.zip").exists()


HEADER = "index\tprediction"


def numbered(word: str, num_rows: int) -> list[str]:
    """A file of a submission with one prediction for every row."""
    return [HEADER, *(f"{index}\t{word}" for index in range(num_rows))]


@pytest.mark.parametrize(
    ("name", "lines", "message"),
    [
        ("WNLI.tsv", ["id\tlabel"], "WNLI.tsv: expected the header index, prediction, found 'id"),
        ("WNLI.tsv", numbered("0", 145), "expected 146 rows, found 145"),
        ("WNLI.tsv", [HEADER, "1\t0", *numbered("0", 146)[2:]], "line 2: expected index 0, found '1'"),
        ("WNLI.tsv", numbered("entailment", 146), "line 2: expected one of 0, 1"),
        ("RTE.tsv", numbered("1", 3_000), "expected one of entailment, not_"),
        ("STS-B.tsv", numbered("5.01", 1_379), "expected a score from 0 to 5, found"),
        ("STS-B.tsv", numbered("nan", 1_379), "expected a score from 0 to 5, found"),
    ],
    ids=range(7),
)
def test_a_mistake_in_a_submission_is_named(name: str, lines: list[str], message: str) -> None:
    with pytest.raises(FormatError, match=message):
        check_submission_lines("a.zip/" + name, name, lines)


def test_missing_and_unknown_files_of_a_submission_are_named(tmp_path: Path) -> None:
    (tmp_path / "CoLA.tsv").write_text("x")
    (tmp_path / "SST2.tsv").write_text("x")
    with pytest.raises(FormatError, match=r"found 2: missing 'SST-2.tsv', .*; unknown 'SST2.tsv'; keep"):
        check_submission(tmp_path)


def test_the_example_files_pass_but_for_qnlis_first_version(real_data: Path, tmp_path: Path) -> None:
    examples = tmp_path / "examples"
    shutil.copytree(real_data / "glue_submission_examples", examples)
    with pytest.raises(FormatError, match=r"QNLI\.tsv: expected 5,463 rows, found 5,740"):
        check_submission(examples)
    (examples / "QNLI.tsv").chmod(0o644)
    lines = (examples / "QNLI.tsv").read_text().split("\n")[: 5_463 + 1]
    (examples / "QNLI.tsv").unlink()
    (examples / "QNLI.tsv").write_text("\n".join(lines) + "\n")
    check_submission(examples)


def spoiled(folder: Path, kind: str) -> Path:
    """A submission with one mistake, as a folder or a zip."""
    files = {name: "\n".join(submission_lines(TASKS["wnli"], np.zeros(146, int))).encode() for name in SUBMISSION_FILES}
    path = folder / "s.zip"
    if kind == "utf-16":
        files["CoLA.tsv"] = files["CoLA.tsv"].decode().encode("utf-16")
        for name, content in files.items():
            (folder / name).write_bytes(content)
        return folder
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
            if kind == "mac":
                archive.writestr(f"__MACOSX/._{name}", b"\0\5\x16\7\xff")
    content = path.read_bytes()
    if kind == "a changed byte":
        path.write_bytes(content[:200] + bytes([content[200] ^ 255]) + content[201:])
    elif kind == "a gap":
        path.write_bytes(content[:200] + content[600:])
    return path


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("utf-16", r"/CoLA.tsv, line 1: expected UTF-8, found byte 0xff; save it as UTF-8"),
        ("mac", r"s.zip: expected the eleven files .*, found 22: unknown '__MACOSX/._AX.tsv', .* …; keep exactly"),
        ("a changed byte", r"s.zip: expected a readable zip, found Bad CRC-32 for file 'CoLA.tsv'; make one with"),
        ("a gap", r"s.zip: expected a readable zip, found .*; make one with"),
        ("", r"s.zip/CoLA.tsv: expected 1,063 rows, found 146; predict every row of CoLA/test.tsv"),
    ],
)  # fmt: skip
def test_a_spoiled_submission_is_named_by_file_with_what_to_do(tmp_path: Path, kind: str, message: str) -> None:
    with pytest.raises(FormatError, match=message):
        check_submission(spoiled(tmp_path, kind))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (b"\xff", "line 3: expected UTF-8, found byte 0xff"),
        (b"1\tmaybe\n", "line 3: expected entailment or not_entailment, found 'maybe'"),
        (b"1\n", "line 3: expected entailment or not_entailment, found list index out of range"),
    ],
)
def test_a_damaged_prediction_file_is_named_by_line(tmp_path: Path, damage: bytes, message: str) -> None:
    path = tmp_path / "p.tsv"
    write_predictions(path, TASKS["rte"], Predictions(np.array([0]), None), np.zeros((1, 2)))
    path.write_bytes(path.read_bytes() + damage)
    with pytest.raises(FormatError, match=f"p.tsv, {message}; remove the run's line from results.jsonl"):
        read_predictions(path, TASKS["rte"].labels)


def test_what_is_neither_a_zip_nor_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_text("no zip")
    for name in ("a.zip", "nowhere.zip"):
        with pytest.raises(FormatError, match=f"{name}: expected a zip or a folder of the files, found neither"):
            check_submission(tmp_path / name)
