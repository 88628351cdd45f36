"""Reading task files: the official ones to the last row, one's own in three formats, and what goes wrong."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from electra.files import FormatError, sha256_file
from electra.glue.files import Rows, describe_rows, own_task, read_split, with_swapped_pairs
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
    write(tmp_path, "cola", "gj04\t1\t\tThey drank the pub.", "gj04\t0\t*\tThey drank the pub dry of.")
    rows = read(tmp_path, "cola")
    assert rows.first == ["They drank the pub.", "They drank the pub dry of."]
    assert rows.gold.tolist() == [1, 0]
    assert rows.second is None


def test_the_first_line_of_colas_test_file_is_not(tmp_path: Path) -> None:
    write(tmp_path, "cola", "0\tBill whistled.", split="test", header="index\tsentence")
    rows = read(tmp_path, "cola", "test")
    assert (rows.first, rows.labels) == (["Bill whistled."], None)


def test_a_last_line_without_a_newline_is_a_row(tmp_path: Path) -> None:
    path = write(tmp_path, "cola", "a\t1\t\tOne.", "a\t0\t\tTwo.")
    path.write_bytes(path.read_bytes().removesuffix(b"\n"))
    assert read(tmp_path, "cola").first == ["One.", "Two."]


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
        assert rows.labels is not None
        assert (rows.first, rows.second, rows.labels.tolist()) == (["A man sleeps."], ["He rests."], [label])


def test_scores_are_numbers_in_the_files_unit(tmp_path: Path) -> None:
    before = "0\tg\tf\t2012\t1\tn\tn\tA plane.\tA jet.\t"
    write(tmp_path, "stsb", before + "3.800", before + "5", before + "0")
    rows = read(tmp_path, "stsb")
    assert rows.gold.tolist() == [3.8, 5.0, 0.0]
    assert rows.labels is not None
    assert rows.labels.dtype == np.float64


def test_qqps_damaged_rows_are_left_out_and_counted_and_empty_questions_kept(tmp_path: Path) -> None:
    good, empty = "1\t2\t3\tWhy?\tHow?\t1", "4\t5\t6\tWhat is that?\t\t0"
    write(tmp_path, "qqp", good, "7\t8\t9\tbroken", "in two\t\t0", empty)
    rows = read(tmp_path, "qqp")
    assert (rows.num_damaged, rows.num_empty, len(rows)) == (2, 1, 2)
    assert rows.second == ["How?", ""]


def test_damaged_rows_of_qqps_dev_file_are_not_excused(tmp_path: Path) -> None:
    write(tmp_path, "qqp", "7\t8\t9\tbroken", split="dev")
    with pytest.raises(FormatError, match=r"QQP/dev.tsv, line 2: expected 6 columns, found 4"):
        read(tmp_path, "qqp", "dev")


def test_the_digest_is_that_of_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, "sst2", "fine\t1")
    assert read(tmp_path, "sst2").sha256 == sha256_file(path)


@pytest.mark.parametrize(
    ("task", "line", "message"),
    [
        (
            "rte",
            "0\tA.\tB.\tmaybe",
            r"line 3: expected one of entailment, not_entailment as label, found 'maybe'",
        ),
        ("sst2", "good\t2", r"line 3: expected one of 0, 1 as label, found '2'"),
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
    with pytest.raises(FormatError, match="expected rows, found an empty file"):
        read(tmp_path, "sst2")


def test_a_missing_file_is_named_with_the_command_that_fetches_it(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"CoLA/dev.tsv: expected .*found none; .*download --task cola"):
        read(tmp_path, "cola", "dev")


def test_another_number_of_rows_than_released_is_refused_unless_asked_for(tmp_path: Path) -> None:
    write(tmp_path, "rte", *["0\tA.\tB.\tentailment"] * 276, split="dev")
    with pytest.raises(FormatError, match=r"RTE/dev.tsv: expected 277 rows, found 276; .*--allow-other-sizes"):
        read_split(TASKS["rte"], tmp_path, "dev")
    assert len(read_split(TASKS["rte"], tmp_path, "dev", allow_other_sizes=True)) == 276


def test_both_released_sizes_of_qqp_are_named(tmp_path: Path) -> None:
    write(tmp_path, "qqp", "1\t2\t3\tWhy?\tHow?\t1")
    with pytest.raises(FormatError, match="expected 363,846 or 363,849 rows, found 1"):
        read_split(TASKS["qqp"], tmp_path, "train")


def test_swapped_pairs_follow_the_rows_with_the_same_labels(tmp_path: Path) -> None:
    write(tmp_path, "mrpc", "1\t3\t5\tOne.\tTwo.", "0\t7\t9\tThree.\tFour.")
    rows = with_swapped_pairs(read(tmp_path, "mrpc"))
    assert rows.first == ["One.", "Three.", "Two.", "Four."]
    assert rows.second == ["Two.", "Four.", "One.", "Three."]
    assert rows.gold.tolist() == [1, 0, 1, 0]


def test_single_sentences_cannot_be_swapped(tmp_path: Path) -> None:
    write(tmp_path, "sst2", "fine\t1")
    with pytest.raises(ValueError, match="expected pairs to swap"):
        with_swapped_pairs(read(tmp_path, "sst2"))


# --- the real files ---------------------------------------------------------------------------------------

POSITIVE = {"cola": 6_023, "mrpc": 2_474, "rte": 1_241, "wnli": 312}  # rows of class 1, counted with awk


@pytest.mark.parametrize("name", ["cola", "mrpc", "stsb", "rte", "wnli"])
def test_every_official_file_is_read_whole(real_data: Path, name: str) -> None:
    task = TASKS[name]
    for split, file in task.splits.items():
        rows = read_split(task, real_data / "glue_data", split)  # checks the number of rows
        assert len(rows.first) == file.num_rows[0]
        assert rows.num_damaged == rows.num_empty == 0
        assert not any("\t" in text or text != text.strip(" ") for text in rows.first)
        if split == "train" and rows.labels is not None and name in POSITIVE:
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
    assert mrpc.labels is not None
    assert int(mrpc.labels.sum()) == 279  # the 68.38 % of all-positive answers
    wnli = read_split(TASKS["wnli"], folder, "dev").labels
    assert wnli is not None
    assert int((wnli == 0).sum()) == 40  # the 56.34 % of the majority
    diagnostic = read_split(TASKS["mnli"], folder, "diagnostic")
    assert (len(diagnostic), diagnostic.labels) == (1_104, None)


@pytest.mark.parametrize(
    ("name", "split", "num_rows", "labels"),
    [
        ("mnli", "train", 3, ["neutral", "entailment", "entailment"]),
        ("mnli", "dev_matched", 2, ["neutral", "contradiction"]),
        ("mnli", "dev_mismatched", 2, ["contradiction", "contradiction"]),
        ("mnli", "test_matched", 1, None),
        ("mnli", "test_mismatched", 1, None),
        ("qqp", "train", 3, ["not_duplicate", "duplicate", "not_duplicate"]),
        ("qqp", "dev", 2, ["not_duplicate", "not_duplicate"]),
        ("qqp", "test", 1, None),
        ("qnli", "train", 3, ["not_entailment", "not_entailment", "entailment"]),
        ("qnli", "dev", 2, ["entailment", "not_entailment"]),
        ("qnli", "test", 1, None),
        ("sst2", "train", 3, ["negative", "negative", "positive"]),
        ("sst2", "dev", 2, ["positive", "negative"]),
        ("sst2", "test", 1, None),
    ],
)
def test_true_headers_of_the_large_tasks_are_read(
    real_data: Path, name: str, split: str, num_rows: int, labels: list[str] | None
) -> None:
    rows = read_split(TASKS[name], real_data / "glue_format_examples", split, allow_other_sizes=True)
    assert len(rows) == num_rows
    words = None if rows.labels is None else [TASKS[name].labels[label] for label in rows.labels]
    assert words == labels


# --- one's own files --------------------------------------------------------------------------------------

REVIEWS = [('A "fine", warm film', "pos"), ("Dull.\nVery dull", "neg"), ("Good, good", "pos")]


@pytest.mark.parametrize("suffix", [".tsv", ".csv", ".jsonl"])
def test_an_own_task_reads_the_same_rows_from_each_format(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"reviews{suffix}"
    if suffix == ".jsonl":
        path.write_text("".join(json.dumps({"text": t, "stars": 3, "mood": m}) + "\n" for t, m in REVIEWS))
    else:
        with open(path, "w", newline="") as file:
            writer = csv.writer(file, "excel" if suffix == ".csv" else "excel-tab")
            writer.writerows([("mood", "text"), *((mood, text) for text, mood in REVIEWS)])
    task = own_task("reviews", path, path, text_column="text", label_column="mood", metric="accuracy")
    assert task.labels == ("neg", "pos")
    rows = read_split(task, Path("anywhere"), "dev")
    assert rows.first == [text for text, _ in REVIEWS]
    assert rows.gold.tolist() == [1, 0, 1]


def test_an_own_task_of_pairs_and_scores_is_a_regression_over_the_scores_range(tmp_path: Path) -> None:
    train, dev = tmp_path / "train.jsonl", tmp_path / "dev.jsonl"
    train.write_text('{"a": "x", "b": "y", "s": 10}\n{"a": "z", "b": "w", "s": 12.5}\n')
    dev.write_text('{"a": "x", "b": "y", "s": 15}\n')
    task = own_task("sim", train, dev, text_column="a", text_pair_column="b", label_column="s", metric="pearson")
    assert task.is_regression
    assert (task.score_range, task.main_metric, task.num_epochs) == ((10.0, 15.0), "pearson", 3)
    rows = read_split(task, Path(), "train")
    assert rows.second == ["y", "w"]
    assert task.targets(rows.gold).tolist() == [0.0, 0.5]


def test_an_own_task_of_three_classes_has_no_f1(tmp_path: Path) -> None:
    path = tmp_path / "three.tsv"
    path.write_text("text\tlabel\na\tx\nb\ty\nc\tz\n")
    task = own_task("three", path, path, text_column="text", label_column="label", metric="matthews")
    assert (task.metrics, task.main_metric) == (("accuracy", "matthews"), "matthews")
    assert task.score_range == (0.0, 1.0)  # not read, but saved as JSON, which knows no infinity
    with pytest.raises(ValueError, match="expected two classes under label, found 3"):
        own_task("three", path, path, text_column="text", label_column="label", metric="f1")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", '{"text": "x", "mood": "pos"}\n{"text": "x"}\n', "line 2: .* 'mood', found the fields text;"),
        ("a.jsonl", '{"text": "x", "mood": "pos"}\n{"text": \n', r"line 2: expected JSON, found"),
        ("a.jsonl", '{"text": "x", "mood": null}\n', "line 1: expected text or a number under 'mood', found null"),
        ("a.csv", "text,mood\nx,pos,neg\n", r"line 2: expected 2 columns, found 3"),
        ("a.csv", 'text,mood\n"x,pos\n', r"line 2: expected CSV .*, found unexpected end of data"),
        ("a.tsv", "text\tmod\nx\tpos\n", r"expected a column 'mood', found 'text', 'mod'"),
        ("a.txt", "text\tmood\nx\tpos\n", r"expected a .tsv, .csv or .jsonl, found '.txt'"),
        ("a.tsv", "text\tmood\nx\tpos\nx\tpos\n", r"expected two or more classes under mood, found 1"),
    ],
)  # fmt: skip
def test_a_mistake_in_an_own_file_is_named(tmp_path: Path, name: str, content: str, message: str) -> None:
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(ValueError, match=message):
        own_task("own", path, path, text_column="text", label_column="mood", metric="accuracy")


def test_an_own_dev_label_that_training_never_saw_is_named(tmp_path: Path) -> None:
    train, dev = tmp_path / "train.tsv", tmp_path / "dev.tsv"
    train.write_text("text\tlabel\na\tx\nb\ty\n")
    dev.write_text("text\tlabel\na\tx\nb\tq\n")
    task = own_task("own", train, dev, text_column="text", label_column="label", metric="accuracy")
    with pytest.raises(
        FormatError, match=r"dev.tsv, line 3: expected one of x, y as label, found 'q'; correct the file"
    ):
        read_split(task, Path(), "dev")


def test_own_scores_must_be_finite_and_differ(tmp_path: Path) -> None:
    path = tmp_path / "own.tsv"
    for content, message in (
        ("1\n1", "expected scores that differ, found 1"),
        ("1\ninf", "line 3: .*found 'inf'"),
    ):
        path.write_text("text\tscore\na\t" + content.replace("\n", "\nb\t") + "\n")
        with pytest.raises(ValueError, match=message):
            own_task("own", path, path, text_column="text", label_column="score", metric="spearman")


def test_an_unknown_metric_is_answered_with_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"--metric: expected one of accuracy, f1, matthews, pearson, spearman"):
        own_task("own", tmp_path, tmp_path, text_column="a", label_column="b", metric="bleu")


def own(path: Path, metric: str = "accuracy") -> tuple[Task, Rows]:
    """A file as training and dev file of an own task, and its rows."""
    task = own_task("own", path, path, text_column="text", label_column="label", metric=metric)
    return task, read_split(task, Path(), "train")


def written(path: Path, text: str) -> Path:
    path.write_bytes(text.encode(errors="surrogatepass"))
    return path


@pytest.mark.parametrize("label", ["1.0", "1.00", " 1", "1 ", "1\u00a0", "\ufeff1", '"1\n"'])
def test_spaces_and_a_decimal_nought_do_not_make_another_class(tmp_path: Path, label: str) -> None:
    task, rows = own(written(tmp_path / "a.csv", f"text,label\na,1\nb,{label}\nc,2\n"))
    assert (task.labels, rows.gold.tolist()) == (("1", "2"), [0, 0, 1])


def test_classes_are_words_as_read_with_one_space_between_and_in_one_spelling(tmp_path: Path) -> None:
    pair = "\U0001f469\u200d\U0001f467"  # an emoji of two with a joiner, which is no control character
    labels = ["very  good", "very good", "caf\u00e9", "cafe\u0301", "01", "1.5", "v1.10", "True", pair]
    task, _ = own(written(tmp_path / "a.csv", "text,label\n" + "".join(f"a,{label}\n" for label in labels)))
    assert task.labels == ("01", "1.5", "True", "caf\u00e9", "v1.10", "very good", pair)


@pytest.mark.parametrize(
    "label", ["", "  ", "nan", "NaN", '"very\tgood"', '"bad\nish"', "a\x1b[31m", "a\u2028b", "a\x00"]
)
def test_a_missing_label_and_one_of_several_lines_are_named_by_line(tmp_path: Path, label: str) -> None:
    path = written(tmp_path / "a.csv", f"text,label\na,x\nb,{label}\nc,y\n")
    with pytest.raises(
        FormatError, match=r"a.csv, line 3: expected a label, one line of printable text, found '"
    ) as caught:
        own(path)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_blank_lines_are_no_rows_and_lines_are_counted_with_them(tmp_path: Path, suffix: str, newline: str) -> None:
    part = "," if suffix == ".csv" else "\t"
    lines = ["", f" text {part}label", f"a{part}x", "", "  ", f"b{part}y", "", ""]
    if suffix == ".jsonl":
        lines = ["", '{"text": "a", "label": "x"}', "", " ", "", '{"text": "b", "label": "y"}', "", ""]
    path = written(tmp_path / f"a{suffix}", newline.join(lines))
    assert own(path)[1].first == ["a", "b"]
    bad = '{"text": "c"}' if suffix == ".jsonl" else "c"
    with pytest.raises(FormatError, match=f"a{suffix}, line 9: expected "):
        own(written(path, newline.join([*lines, bad])))


def test_lines_may_end_in_carriage_returns_alone(tmp_path: Path) -> None:
    assert own(written(tmp_path / "a.CSV", "text,label\ra,x\rb,y\r"))[1].first == ["a", "b"]


def test_in_a_file_of_one_column_a_quoted_nothing_is_a_row(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", 'text\na\n""\n\nb\n')
    task = Task(
        name="x", title="x", text_columns=("text",), label_column="", metrics=(), splits={"new": SplitFile(str(path))}
    )
    assert read_split(task, Path(), "new").first == ["a", "", "b"]


def test_a_cell_may_be_as_long_as_its_file(tmp_path: Path) -> None:
    limit = csv.field_size_limit()
    assert (
        own(written(tmp_path / "a.csv", f"text,label\n{'word ' * 40_000},x\nb,y\n"))[1].first[0].count("word") == 40_000
    )
    assert csv.field_size_limit() == limit


def test_an_own_tsv_is_quoted_as_other_tools_write_it(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    texts = ['he said "yes"', "plain", "two\nlines", "a\ttab", 'ends in "']
    with open(path, "w", newline="") as file:
        csv.writer(file, "excel-tab").writerows(
            [("text", "label"), *((text, number % 2) for number, text in enumerate(texts))]
        )
    assert own(path)[1].first == texts
    with pytest.raises(FormatError, match=r"a.tsv, line 2: expected CSV \(a cell that starts with a quote sign"):
        own(written(path, 'text\tlabel\n"Well" he said\tx\nb\ty\n'))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("text,label", "line 3: expected a row, found the header again"),
        ('"open,x\nb,y', "line 3: expected CSV .*, found unexpected end of data"),
        ("b,x,", "line 3: expected 2 columns, found 3"),
    ],
)
def test_an_odd_row_of_a_csv_is_named_by_the_line_it_starts_on(tmp_path: Path, row: str, message: str) -> None:
    with pytest.raises(FormatError, match=f"a.csv, {message}"):
        own(written(tmp_path / "a.csv", f"text,label\na,x\n{row}\n"))


def test_a_column_that_is_there_twice_is_not_chosen_between(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="expected a column 'text' once, found 'text', 'label', 'text'"):
        own(written(tmp_path / "a.csv", "text,label,text\na,x,b\na,y,b\n"))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"text": "x", "label": ' + "1" * 5_000 + "}", "expected JSON, found Exceeds the limit"),
        ('{"text": "x", "label": "p", "y": ' + "[" * 200_000 + "]" * 200_000 + "}", "expected JSON, found maximum"),
        ('{"text": "hi \\ud83d you", "label": "p"}', "expected whole characters, found the half"),
        ('{"text": "hi", "label": "\\ud83d"}', "expected whole characters, found the half"),
        ('{"text": NaN, "label": "p"}', "expected text or a number under 'text', found null"),
        ('{"text": "x", "label": NaN}', "expected text or a number under 'label', found null"),
    ],
    ids=range(6),
)  # fmt: skip
def test_odd_json_is_named_by_line(tmp_path: Path, line: str, message: str) -> None:
    rows = "".join(f'{{"text": "{label}", "label": "{label}"}}\n' for label in "pn")
    with pytest.raises(FormatError, match=f"a.jsonl, line 3: {message}"):
        own(written(tmp_path / "a.jsonl", rows + line + "\n"))


def test_numbers_as_json_labels_are_classes_by_value(tmp_path: Path) -> None:
    rows = "".join(f'{{"text": "a", "label": {label}}}\n' for label in ("1", "1.0", '"1"', "1e0", "2"))
    assert own(written(tmp_path / "a.jsonl", rows))[0].labels == ("1", "2")


def test_what_was_read_is_told_with_its_classes(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", 'text,label\na,x\n"two\nlines",y\n,y\n')
    assert describe_rows(*own(path)) == f"{path}: 3 rows, 1 empty texts, 1 texts of several lines, x 1, y 2"
    many = written(tmp_path / "many.csv", "text,label\n" + "".join(f"a,{number:02}\n" for number in range(23)))
    assert describe_rows(*own(many)).endswith(", 19 1, and 3 more classes")
    scores = written(tmp_path / "s.csv", "text,label\na,1\nb,2.5\n")
    assert describe_rows(*own(scores, "pearson")) == f"{scores}: 2 rows, label from 1 to 2.5"
