"""Predictions as files, and what makes a submission impossible."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from electra.files import FormatError
from electra.glue.predictions import write_predictions, write_submission
from electra.glue.tasks import TASKS
from tests.helpers.glue_files import small_tests, write_all

__all__ = ["small_tests"]


def test_classes_are_written_as_words_beside_labels_and_outputs(tmp_path: Path) -> None:
    path = tmp_path / "new" / "cola.tsv"
    outputs = np.array([[0.25, -1.5], [1e-9, 3.0]], np.float32)
    write_predictions(path, TASKS["cola"], np.array([0, 1]), np.array([1, 1]), outputs)
    assert path.read_text() == (
        "index\tprediction\tlabel\tunacceptable\tacceptable\n"
        "0\tunacceptable\tacceptable\t0.25\t-1.5\n"
        "1\tacceptable\tacceptable\t9.99999972e-10\t3\n"
    )


def test_scores_are_written_in_full_and_a_test_file_has_no_labels(tmp_path: Path) -> None:
    write_predictions(tmp_path / "p.tsv", TASKS["stsb"], np.array([0.1, 16 / 3]), np.zeros(0), np.ones((2, 1)))
    assert (tmp_path / "p.tsv").read_text() == "index\tprediction\toutput\n0\t0.1\t1\n1\t5.333333333333333\t1\n"


@pytest.mark.usefixtures("small_tests")
def test_the_same_predictions_make_the_same_bytes(tmp_path: Path) -> None:
    sources = write_all(tmp_path)
    for name in ("one.zip", "two.zip"):
        write_submission(tmp_path / name, sources)
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()


@pytest.mark.usefixtures("small_tests")
@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("AX.tsv", None, "s.zip: expected predictions of diagnostic by a MNLI model, found none; run train_glue.py"),
        ("RTE.tsv", b"h\n0\tentailment\n", r"RTE.tsv: expected 3,000 rows, found 1; predict every row of RTE/test.tsv"),
        ("RTE.tsv", b"h\n0\tmaybe\n", "RTE.tsv: expected predictions of RTE, found 'maybe'; remove the run's line"),
        ("RTE.tsv", b"h\n0\n", "RTE.tsv: expected predictions of RTE, found list index out of range; remove"),
        ("RTE.tsv", b"h\n0\t\xff\n", "RTE.tsv: expected predictions of RTE, found 'utf-8' codec can't decode"),
        ("RTE.tsv", b"h\n0\tentailment\n0\tentailment\n", "RTE.tsv: .* found index 0 out of order"),
        ("STS-B.tsv", b"h\n0\tinf\n", "STS-B.tsv: expected predictions of STS-B, found inf"),
        ("STS-B.tsv", b"h\n0\tnan\n", "STS-B.tsv: expected predictions of STS-B, found nan"),
    ],
)
def test_missing_or_damaged_predictions_are_named_and_nothing_is_written(tmp_path, name, content, message):
    sources = write_all(tmp_path, but="" if content else name)
    if content:
        sources[name].write_bytes(content)
    with pytest.raises(FormatError, match=message):
        write_submission(tmp_path / "s.zip", sources)
    assert not (tmp_path / "s.zip").exists()
