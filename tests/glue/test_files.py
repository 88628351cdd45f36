"""Reading task files: the official ones to the last row, one's own in three formats, and what goes wrong."""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from electra.files import FormatError
from electra.glue.files import Rows, describe_rows, read_split, with_swapped_pairs
from electra.glue.inputs import own_task
from electra.glue.tasks import TASKS, SplitFile, Task

HEADERS = {
    "sst2": "sentence\tlabel",
    "mrpc": "\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String",
    "stsb": "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2\tscore",
    "qqp": "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate",
    "mnli": "index\tpromptID\tpairID\tgenre\tb1\tb2\tp1\tp2\tsentence1\tsentence2\tlabel1\tgold_label",
    "qnli": "index\tquestion\tsentence\tlabel",
    "rte": "index\tsentence1\tsentence2\tlabel",
}
MNLI_DEV = HEADERS["mnli"].replace("label1", "label1\tlabel2\tlabel3\tlabel4\tlabel5")


def write(folder: Path, task: str, *lines: str, split: str = "train", header: str | None = None) -> Path:
    """A file of a task with the official header and the given rows."""
    path = folder / TASKS[task].splits[split].path
    path.parent.mkdir(parents=True, exist_ok=True)
    head = [HEADERS[task] if header is None else header] if task != "cola" or header else []
    path.write_bytes("".join(line + "\n" for line in [*head, *lines]).encode())
    return path


def read(folder: Path, task: str, split: str = "train") -> Rows:
    return read_split(TASKS[task], folder, split, allow_other_sizes=True)


def test_the_first_line_of_colas_train_and_dev_files_is_a_row(tmp_path: Path) -> None:
    path = write(tmp_path, "cola", "gj04\t1\t\tThey drank the pub.", "gj04\t0\t*\tThey drank the pub dry of.")
    path.write_bytes(path.read_bytes().removesuffix(b"\n"))
    rows = read(tmp_path, "cola")
    assert rows.first == ["They drank the pub.", "They drank the pub dry of."]
    assert rows.labels.tolist() == [1, 0]
    assert rows.second is None


def test_quotes_are_text_and_only_tabs_part_columns(tmp_path: Path) -> None:
    write(tmp_path, "rte", '0\t"One, he said.\tTwo "three\tentailment', '1\tFour".\tFive\tnot_entailment')
    rows = read(tmp_path, "rte")
    assert rows.first == ['"One, he said.', 'Four".']
    assert rows.second == ['Two "three', "Five"]


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c", "\x1e"])
def test_other_line_separators_are_text(tmp_path: Path, separator: str) -> None:
    write(tmp_path, "qnli", f"0\tWhat{separator}now?\tThis.\tentailment")
    assert read(tmp_path, "qnli").first == [f"What{separator}now?"]


def test_carriage_returns_of_converted_files_and_the_byte_order_mark_are_no_text(tmp_path: Path) -> None:
    path = write(tmp_path, "mrpc", "1\t3\t5\tOne.\tTwo.", "0\t7\t9\tThree.\tFour.")
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    rows = read(tmp_path, "mrpc")
    assert (rows.first, rows.second) == (["One.", "Three."], ["Two.", "Four."])


def test_spaces_at_the_ends_of_a_text_are_dropped_and_nothing_else(tmp_path: Path) -> None:
    write(tmp_path, "sst2", " \u00a0a  charming journey . \t1")
    assert read(tmp_path, "sst2").first == ["\u00a0a  charming journey ."]


def test_mnlis_label_is_found_where_the_dev_file_has_four_columns_more(tmp_path: Path) -> None:
    before = "0\t7\t7n\tslate\tp\tq\tr\ts\tA man sleeps.\tHe rests.\t"
    write(tmp_path, "mnli", before + "neutral\tcontradiction")
    write(tmp_path, "mnli", before + "neutral\t" * 5 + "entailment", split="dev_matched", header=MNLI_DEV)
    for split, label in (("train", 2), ("dev_matched", 0)):
        rows = read(tmp_path, "mnli", split)
        assert (rows.first, rows.second, rows.labels.tolist()) == (["A man sleeps."], ["He rests."], [label])


def test_scores_are_numbers_in_the_files_unit(tmp_path: Path) -> None:
    before = "0\tg\tf\t2012\t1\tn\tn\tA plane.\tA jet.\t"
    write(tmp_path, "stsb", before + "3.800", before + "5", before + "0")
    rows = read(tmp_path, "stsb")
    assert rows.labels.tolist() == [3.8, 5.0, 0.0]
    assert rows.labels.dtype == np.float64


def test_qqps_damaged_rows_are_left_out_and_counted_and_empty_questions_kept(tmp_path: Path) -> None:
    good, empty = "1\t2\t3\tWhy?\tHow?\t1", "4\t5\t6\tWhat is that?\t\t0"
    write(tmp_path, "qqp", good, "7\t8\t9\tbroken", "in two\t\t0", empty)
    write(tmp_path, "qqp", "7\t8\t9\tbroken", split="dev")
    rows = read(tmp_path, "qqp")
    assert (rows.num_damaged, len(rows)) == (2, 2)
    assert rows.second == ["How?", ""]
    with pytest.raises(FormatError, match=r"QQP/dev.tsv, line 2: expected 6 columns, found 4"):
        read(tmp_path, "qqp", "dev")
    with pytest.raises(FormatError, match="expected 363,846 or 363,849 rows, found 2"):
        read_split(TASKS["qqp"], tmp_path, "train")


@pytest.mark.parametrize(
    ("task", "line", "message"),
    [
        ("rte", "0\tA.\tB.\tmaybe", "line 3: expected one of entailment, not_entailment as label, found 'maybe'"),
        ("sst2", "good\tpositive", r"line 3: expected one of 0, 1 as label, found 'positive'"),
        ("rte", "0\tA.\tentailment", r"line 3: expected 4 columns, found 3"),
        ("rte", "0\tA.\tB.\tC.\tentailment", r"line 3: expected 4 columns, found 5"),
    ],
)
def test_a_bad_row_is_named_by_line_with_what_is_allowed(tmp_path: Path, task: str, line: str, message: str) -> None:
    good = {"rte": "0\tA.\tB.\tentailment", "sst2": "fine\t1"}[task]
    write(tmp_path, task, good, line, good)
    with pytest.raises(FormatError, match=message + f".*fetch it with python -m electra glue download --task {task}"):
        read(tmp_path, task)


@pytest.mark.parametrize("score", ["5.1", "-0.1", "nan", "inf", "high", ""])
def test_a_score_outside_its_range_is_named(tmp_path: Path, score: str) -> None:
    write(tmp_path, "stsb", "0\tg\tf\t2012\t1\tn\tn\tA plane.\tA jet.\t" + score)
    with pytest.raises(FormatError, match=f"line 2: expected a score from 0 to 5 as label, found '{score}'"):
        read(tmp_path, "stsb")


def test_a_missing_column_is_named_with_those_there_are(tmp_path: Path) -> None:
    write(tmp_path, "rte", "0\tA.\tentailment", header="index\tsentence1\tlabel")
    with pytest.raises(FormatError, match="expected a column 'sentence2', found 'index', 'sentence1', 'label'"):
        read(tmp_path, "rte")


def test_bytes_that_are_no_utf8_are_named_by_line(tmp_path: Path) -> None:
    path = write(tmp_path, "sst2", "fine\t1", "caf#\t0")
    path.write_bytes(path.read_bytes().replace(b"#", b"\xe9"))
    with pytest.raises(FormatError, match=r"SST-2/train.tsv, line 3: expected UTF-8, found byte 0xe9"):
        read(tmp_path, "sst2")


def test_an_empty_file_and_a_header_alone_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path, "sst2")
    with pytest.raises(FormatError, match="expected rows below the header, found none"):
        read(tmp_path, "sst2")
    path.write_bytes(b"")
    with pytest.raises(FormatError, match="expected a column 'sentence', found ''"):
        read(tmp_path, "sst2")


def test_a_missing_file_is_named_with_the_command_that_fetches_it(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"CoLA/dev.tsv: expected .*found none; .*download --task cola"):
        read(tmp_path, "cola", "dev")


def test_another_number_of_rows_than_released_is_refused_unless_asked_for(tmp_path: Path) -> None:
    write(tmp_path, "rte", *["0\tA.\tB.\tentailment"] * 276, split="dev")
    with pytest.raises(FormatError, match=r"RTE/dev.tsv: expected 277 rows, found 276; .*--allow-other-sizes"):
        read_split(TASKS["rte"], tmp_path, "dev")
    assert len(read_split(TASKS["rte"], tmp_path, "dev", allow_other_sizes=True)) == 276


def test_swapped_pairs_follow_the_rows_with_the_same_labels(tmp_path: Path) -> None:
    write(tmp_path, "mrpc", "1\t3\t5\tOne.\tTwo.", "0\t7\t9\tThree.\tFour.")
    rows = with_swapped_pairs(read(tmp_path, "mrpc"))
    assert rows.first == ["One.", "Three.", "Two.", "Four."]
    assert rows.second == ["Two.", "Four.", "One.", "Three."]
    assert rows.labels.tolist() == [1, 0, 1, 0]


# --- the real files ---------------------------------------------------------------------------------------

POSITIVE = {"cola": 6_023, "mrpc": 2_474, "rte": 1_241, "wnli": 312}  # rows of class 1, counted with awk


@pytest.mark.parametrize("name", ["cola", "mrpc", "stsb", "rte", "wnli"])
def test_every_official_file_is_read_whole(real_data: Path, name: str) -> None:
    task = TASKS[name]
    for split, file in task.splits.items():
        rows = read_split(task, real_data / "glue_data", split)  # checks the number of rows
        assert len(rows.first) == file.num_rows[0]
        assert rows.num_damaged == 0
        assert not any("\t" in text or text != text.strip(" ") for text in rows.first)
        if split == "train" and name in POSITIVE:
            assert int(rows.labels.sum()) == POSITIVE[name]


def test_known_rows_of_the_official_files(real_data: Path) -> None:
    folder = real_data / "glue_data"
    cola = read_split(TASKS["cola"], folder, "dev")
    assert (cola.first[0], cola.first[-1]) == (
        "The sailors rode the breeze clear of the rocks.",
        "John talked to Bill about himself.",
    )
    mrpc = read_split(TASKS["mrpc"], folder, "dev")
    assert mrpc.second is not None
    assert mrpc.second[0].startswith('" The foodservice pie business')
    assert int(mrpc.labels.sum()) == 279  # the 68.38 % of all-positive answers
    wnli = read_split(TASKS["wnli"], folder, "dev").labels
    assert int((wnli == 0).sum()) == 40  # the 56.34 % of the majority
    diagnostic = read_split(TASKS["mnli"], folder, "diagnostic")
    assert (len(diagnostic), len(diagnostic.labels)) == (1_104, 0)


def test_true_headers_of_the_large_tasks_are_read(real_data: Path) -> None:
    found = {}
    for name in ("mnli", "qqp", "qnli", "sst2"):
        for split in TASKS[name].splits.keys() - {"diagnostic"}:
            rows = read_split(TASKS[name], real_data / "glue_format_examples", split, allow_other_sizes=True)
            assert len(rows) == {"train": 3, "dev": 2, "test": 1}[split.split("_")[0]]
            found[name, split] = [TASKS[name].labels[label] for label in rows.labels.astype(int)]
    assert {key: labels for key, labels in found.items() if labels} == {
        ("mnli", "train"): ["neutral", "entailment", "entailment"],
        ("mnli", "dev_matched"): ["neutral", "contradiction"],
        ("mnli", "dev_mismatched"): ["contradiction", "contradiction"],
        ("qqp", "train"): ["not_duplicate", "duplicate", "not_duplicate"],
        ("qqp", "dev"): ["not_duplicate", "not_duplicate"],
        ("qnli", "train"): ["not_entailment", "not_entailment", "entailment"],
        ("qnli", "dev"): ["entailment", "not_entailment"],
        ("sst2", "train"): ["negative", "negative", "positive"],
        ("sst2", "dev"): ["positive", "negative"],
    }


# --- a person's own files ---------------------------------------------------------------------------------


def task_of(train: Path, dev: Path | None = None, **changes: str) -> Task:
    """The task of two files with the columns text and label."""
    asked = {"task": "own", "text_column": "text", "text_pair_column": "", "label_column": "label"}
    files = {"train_file": train, "dev_file": dev or train}
    return own_task(argparse.Namespace(**{**asked, "metric": "accuracy", **files, **changes}))


def own(path: Path, metric: str = "accuracy") -> tuple[Task, Rows]:
    """A file as training and dev file of an own task, and its rows."""
    task = task_of(path, metric=metric)
    return task, read_split(task, Path("any folder"), "train")


def written(path: Path, text: str) -> Path:
    path.write_bytes(text.encode(errors="surrogatepass"))
    return path


TEXTS = [('he said "yes"', "pos"), ("two\nlines", "neg"), ("a\ttab, a comma", "pos"), ('ends in "', "neg")]


@pytest.mark.parametrize("suffix", [".tsv", ".CSV", ".jsonl"])
def test_an_own_task_reads_the_same_rows_from_each_format(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"texts{suffix}"
    if suffix == ".jsonl":
        path.write_text("".join(json.dumps({"text": t, "stars": 3, "label": m}) + "\n" for t, m in TEXTS))
    else:
        with open(path, "w", newline="") as file:
            writer = csv.writer(file, "excel" if suffix == ".CSV" else "excel-tab")
            writer.writerows([("label", "text"), *((label, text) for text, label in TEXTS)])
    task, rows = own(path)
    assert task.labels == ("neg", "pos")
    assert (rows.first, rows.labels.tolist()) == ([text for text, _ in TEXTS], [1, 0, 1, 0])


def test_an_own_task_of_pairs_and_scores_is_a_regression_over_the_scores_range(tmp_path: Path) -> None:
    train = written(tmp_path / "a.jsonl", '{"a": "x", "b": "y", "s": 10}\n{"a": "z", "b": "w", "s": 12.5}\n')
    dev = written(tmp_path / "b.jsonl", '{"a": "x", "b": "y", "s": 15}\n')
    task = task_of(train, dev, text_column="a", text_pair_column="b", label_column="s", metric="pearson")
    assert (task.is_regression, task.score_range, task.main_metric, task.num_epochs) == (True, (10, 15), "pearson", 3)
    rows = read_split(task, Path(), "train")
    assert (rows.second, task.targets(rows.labels).tolist()) == (["y", "w"], [0.0, 0.5])


def test_an_own_task_of_three_classes_has_no_f1(tmp_path: Path) -> None:
    path = written(tmp_path / "three.tsv", "text\tlabel\na\tx\nb\ty\nc\tz\n")
    task = task_of(path, metric="matthews")
    assert (task.metrics, task.main_metric) == (("accuracy", "matthews"), "matthews")
    assert task.score_range == (0.0, 1.0)  # not read, but saved as JSON, which knows no infinity
    with pytest.raises(ValueError, match="expected two classes under label, found 3"):
        task_of(path, metric="f1")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", '{"text": "x", "label": "p"}\n\n{"text": "x"}\n', "line 3: expected an object .* under 'label'"),
        ("a.jsonl", '{"text": \n', "line 1: expected JSON, found Expecting value"),
        ("a.jsonl", "[1]\n", r"line 1: expected an object with text, a number, .* under 'label', found \[1\]"),
        ("a.jsonl", '{"text": "x", "label": "p", "text": "y"}', "line 1: expected JSON, found a key twice"),
        ("a.jsonl", '{"text": "x", "label": "\\ud800"}', "line 1: expected JSON, found 'utf-8' codec can't encode"),
        ("a.jsonl", "[" * 200_000 + "]" * 200_000, "line 1: expected JSON, found maximum recursion"),
        ("a.jsonl", '{"text": "x", "label": NaN}', "line 1: expected an object with text, a number, "),
        ("a.csv", 'text,label\r\n"a\nb",p\n\nx,p,q\n', "line 5: expected 2 columns, found 3"),
        ("a.csv", 'text,label\na,p\n"x,p\n\n\n', "line 3: expected CSV .*, found unexpected end of data"),
        ("a.tsv", 'text\tlabel\n"Well" he said\tx\n', "line 2: expected CSV .a quote sign at the start of a cell"),
        ("a.csv", "text,label,label\na,x,b\n", "expected a column 'label' once, found 'text', 'label', 'label'"),
        ("a.tsv", "text\tmod\nx\tpos\n", "expected a column 'label', found 'text', 'mod'"),
        ("a.csv", "", "expected a column 'label', found an empty file"),
        ("a.txt", "\ud800", "expected a name that ends in .tsv, .csv or .jsonl, found 'a.txt'"),
        ("a.tsv", "text\tlabel\nx\tpos\nx\tpos\n", "expected two or more classes under label, found 1"),
        ("a.csv", 'text,label\nx,"a\tb"\n', r"expected .* found 0 and 'a\\tb', which is empty or not printable"),
    ],
    ids=range(16),
)  # fmt: skip
def test_a_mistake_in_an_own_file_is_named_by_the_line_it_starts_on(tmp_path, name, content, message):
    with pytest.raises(ValueError, match=f"{name}(, |: ){message}"):
        own(written(tmp_path / name, content))


@pytest.mark.parametrize("label", ["q", "", "  ", "nan", "NaN", '"bad\nish"', "a\x1b[31m", "a\u2028b", "a\x00"])
def test_a_label_that_is_no_class_is_named_by_line(tmp_path: Path, label: str) -> None:
    train = written(tmp_path / "train.csv", "text,label\na,x\nb,y\n")
    dev = written(tmp_path / "dev.csv", f"text,label\na,x\nb,{label}\nc,y\n")
    message = "dev.csv, line 3: expected one of x, y as label, found '.*; correct the file"
    with pytest.raises(FormatError, match=message) as caught:
        read_split(task_of(train, dev), Path(), "dev")
    assert str(caught.value).isprintable()
    if label != "q":  # nor is it a class where it stands in the training file
        with pytest.raises(FormatError, match=message):
            own(dev)


def test_own_scores_must_be_finite_and_differ(tmp_path: Path) -> None:
    differ = "expected scores that differ, found 1"
    for scores, message in (("1 1", differ), ("1 inf", "line 3: .*found 'inf'"), ("1 1_0", "line 3: .*found '1_0'")):
        path = written(tmp_path / "own.csv", "text,label\na," + scores.replace(" ", "\nb,") + "\n")
        with pytest.raises(ValueError, match=message):
            own(path, "spearman")


def test_an_unknown_metric_is_answered_with_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"--metric: expected one of accuracy, f1, matthews, pearson, spearman"):
        task_of(tmp_path, metric="bleu")


@pytest.mark.parametrize("label", ["1.0", "1.00", " 1", "1 ", "1\u00a0", '"1\n"'])
def test_spaces_and_a_decimal_nought_do_not_make_another_class(tmp_path: Path, label: str) -> None:
    task, rows = own(written(tmp_path / "a.csv", f"text,label\na,1\nb,{label}\nc,2\n"))
    assert (task.labels, rows.labels.tolist()) == (("1", "2"), [0, 0, 1])


def test_classes_are_words_as_written_in_json_too(tmp_path: Path) -> None:
    pair = "\U0001f469\u200d\U0001f467"  # an emoji of two with a joiner, which is no control character
    labels = ["very good", "caf\u00e9", "01", "1.5", "v1.10", "True", pair]
    task, _ = own(written(tmp_path / "a.csv", "text,label\n" + "".join(f"a,{label}\n" for label in labels)))
    assert task.labels == ("01", "1.5", "True", "caf\u00e9", "v1.10", "very good", pair)
    rows = "".join(f'{{"text": "a", "label": {label}}}\n' for label in ("1", "1.0", '"1"', "1e400", "0.10", "true"))
    assert own(written(tmp_path / "a.jsonl", rows))[0].labels == ("0.10", "1", "1e400", "true")


def test_blank_lines_are_no_rows_and_a_quoted_nothing_is_a_text(tmp_path: Path) -> None:
    assert own(written(tmp_path / "a.csv", "\r\n text ,label\r\n\r\na,x\r\nb,y\r\n\r\n"))[1].first == ["a", "b"]
    assert own(written(tmp_path / "b.csv", "text,label\ra,x\rb,y\r"))[1].first == ["a", "b"]
    path = written(tmp_path / "c.csv", 'text\na\n""\n\n\n')
    facts: dict[str, Any] = {"label_column": "", "metrics": (), "splits": {"new": SplitFile(str(path))}}
    task = Task(name="x", title="x", text_columns=("text",), **facts)
    assert read_split(task, Path(), "new").first == ["a", ""]
    written(path, "text\na\n\nb\n")  # in a file of one column, a blank line may be an empty text
    with pytest.raises(FormatError, match="line 3: expected 1 columns, found 0"):
        read_split(task, Path(), "new")


def test_a_cell_may_be_as_long_as_a_document(tmp_path: Path) -> None:
    rows = own(written(tmp_path / "a.csv", f"text,label\n{'word ' * 40_000},x\nb,y\n"))[1]
    assert rows.first[0].count("word") == 40_000


def test_what_was_read_is_told_with_its_classes(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", 'text,label\na,x\n"two\nlines",y\n,y\n')
    assert describe_rows(*own(path)) == f"{path}: 3 rows, 1 empty texts, 1 texts of several lines, x 1, y 2"
    many = written(tmp_path / "many.csv", "text,label\n" + "".join(f"a,{number:02}\n" for number in range(23)))
    assert describe_rows(*own(many)).endswith(", 19 1, and 3 more classes")
    scores = written(tmp_path / "s.csv", "text,label\na,1\nb,2.5\n")
    assert describe_rows(*own(scores, "pearson")) == f"{scores}: 2 rows, label from 1 to 2.5"
