"""What runs left on disk is read, what is damaged is left out and noted, and only seeds of one score are averaged."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from electra.files import FormatError
from electra.glue.results import RECORD_FIELDS, read_results
from electra.report.efficiency import spent, total_days
from electra.report.page import figures, report
from electra.report.runs import read_inputs
from tests.helpers.records import FIXTURES, record, rewrite


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The recorded runs, free to be damaged."""
    return Path(shutil.copytree(FIXTURES, tmp_path / "records"))


def test_runs_and_results_are_found_below_a_folder_and_named_by_what_tells_them_apart():
    inputs = read_inputs([FIXTURES])
    assert [run.name for run in inputs.runs][:3] == ["control-mlm", "full", "sweep/g0.125-s0"]
    assert len(inputs.protocols) == 10
    assert inputs.protocols[0].name == "full, update 1,000,000 (100 %); recipe mercier"


DAMAGED_LINE = f"{FIXTURES}/full/metrics.jsonl: 1 of 23 lines left out: line 5 expected JSON, found "


def test_a_damaged_line_is_named_and_counted_and_the_rest_is_used():
    (run,), _, notes = read_inputs([FIXTURES / "full"])
    assert len(run.training) == len(run.evaluations) == 11
    (note,) = notes
    assert note.startswith(DAMAGED_LINE)


def append(path: Path, *lines: str) -> int:
    """Add lines to a file; how many it has then."""
    with open(path, "a") as file:
        file.writelines(f"{line}\n" for line in lines)
    return len(path.read_text().splitlines())


BROKEN_LINES = [
    "[1, 2]", "null", '"text"', "7", "{", '{"step": null}', '{"step": "3"}', '{"step": 3.0}', '{"step": true}',
    '{"step": 1, "disc_auc": NaN}', '{"step": 1, "disc_loss": 1e999}', '{"step": 1, "disc_loss": "0.1"}',
    '{"step": 1, "elapsed_seconds": [1]}', '{"step": ' + "9" * 5_000 + "}", "[" * 100_000, '{"loss": 1.0}',
]  # fmt: skip


def test_lines_that_are_no_record_of_an_update_are_left_out_named_and_counted(copy: Path):
    whole = read_inputs([copy / "full"]).runs[0]
    path = copy / "full" / "metrics.jsonl"
    num_lines = append(path, *BROKEN_LINES)
    (run,), _, notes = read_inputs([copy / "full"])
    assert (run.training, run.evaluations) == (whole.training, whole.evaluations)
    (note,) = notes
    assert note.startswith(f"{path}: {1 + len(BROKEN_LINES)} of {num_lines} lines left out: line 5 expected JSON")
    assert note.endswith(f"and {1 + len(BROKEN_LINES) - 5} more")
    path.write_text(path.read_text().splitlines()[0] + '\n{"step": 9')
    assert "1 of 2 lines left out: line 2 cut short by a kill" in read_inputs([copy / "full"]).notes[0]


BROKEN_FILES = {
    "config.json": [
        "", "[]", "null", '"x"', "{", '{"encoder": {}}', '{"a": ' * 50_000, '{"pretrain": ' + "9" * 5_000 + "}",
        lambda saved: {**saved, "pretrain": None},
        lambda saved: {**saved, "encoder": []},
        lambda saved: {**saved, "tokenizer": 7},
        lambda saved: {**saved, "pretrain": {**saved["pretrain"], "batch_size": "128"}},
        lambda saved: {**saved, "pretrain": {**saved["pretrain"], "recipe": ["report"]}},
        lambda saved: {**saved, "pretrain": {**saved["pretrain"], "recipe": {}}},
        lambda saved: {**saved, "pretrain": {**saved["pretrain"], "milestones": [[1]]}},
        lambda saved: {**saved, "pretrain": {**saved["pretrain"], "generator_size": 0.51}},
        lambda saved: {**saved, "encoder": {**saved["encoder"], "num_heads": 0}},
    ],
    "provenance.json": [
        "[]", "null", "\xff",
        lambda saved: {**saved, "device": None},
        lambda saved: {**saved, "commit": 1.5},
        lambda saved: {**saved, "num_devices": "2"},
        lambda saved: {**saved, "num_devices": -1},
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "content"),
    [(name, content) for name, contents in BROKEN_FILES.items() for content in contents],
    ids=lambda value: str(value)[:40],
)
def test_a_run_folder_with_a_damaged_file_is_left_out_by_name_and_the_others_are_read(tmp_path: Path, name, content):
    path = tmp_path / "full" / name
    for run in ("full", "control-mlm"):
        shutil.copytree(FIXTURES / run, tmp_path / run)
    if callable(content):
        content = json.dumps(content(json.loads(path.read_text())))
    path.write_bytes(content.encode("latin-1"))
    inputs = read_inputs([tmp_path])
    assert [run.name for run in inputs.runs] == ["control-mlm"]
    (note,) = inputs.notes
    assert note.startswith(f"{tmp_path}/full: run left out, ")


GONE = object()
BROKEN_RECORDS = [
    *[{name: []} for name in RECORD_FIELDS],
    *[{name: GONE} for name in RECORD_FIELDS if name not in ("model", "init_from_mnli")],
    *[{"metrics": {"matthews": score}} for score in (9.0, -1.1, "0.5", None)],
    *[{"metrics": {"accuracy": score}, "main_metric": "accuracy"} for score in (9.0, -0.1)],
    *[{"seed": -1}, {"train_seconds": -1.0}, {"run_id": 1.0}, {"main_metric": "f1"}, {"recipe": "none"}],
    *[{"data": {}}, {"data": {"dev": {}}}, {"data": {"dev": {"path": "x", "sha256": 1}}}, {"data": {"train": {}}}],
    *[{"settings": {}}, {"provenance": {"commit": "1"}}, {"provenance": {"device": [], "commit": "1"}}],
]


@pytest.mark.parametrize("change", BROKEN_RECORDS, ids=str)
def test_a_record_that_train_glue_cannot_have_written_is_left_out_named_and_counted(tmp_path: Path, change):
    good = [record("cola", seed, matthews=0.5) for seed in (0, 1)]
    bad = {name: value for name, value in {**good[1], "run_id": "bad", **change}.items() if value is not GONE}
    append(tmp_path / "results.jsonl", *map(json.dumps, [*good, bad]))
    inputs = read_inputs([tmp_path])
    assert [row.scores("cola") for row in inputs.protocols] == [{0: 0.5, 1: 0.5}]
    (note,) = inputs.notes
    assert note.startswith(f"{tmp_path}/results.jsonl: ")
    assert "left out" in note
    with pytest.raises(FormatError, match=r"results.jsonl:.*expected"):
        read_results(tmp_path)


def test_a_score_that_is_no_number_is_left_out_like_a_damaged_line(tmp_path: Path):
    good = json.dumps(record("cola", 0, matthews=0.5))
    append(tmp_path / "results.jsonl", good, good.replace('"matthews": 0.5', '"matthews": NaN'), '{"run_id": "x')
    inputs = read_inputs([tmp_path])
    assert inputs.protocols[0].scores("cola") == {0: 0.5}
    assert "2 of 3 lines left out: line 2 expected finite numbers, found NaN; line 3" in inputs.notes[0]


def test_a_run_folder_without_metrics_is_refused_when_named_and_left_out_aloud_when_found(copy: Path):
    (copy / "full" / "metrics.jsonl").unlink()
    with pytest.raises(FormatError, match=r"found none that can be used: .*full: run left out, expected metrics.jsonl"):
        read_inputs([copy / "full"])
    inputs = read_inputs([copy])
    assert "full" not in {run.name for run in inputs.runs}
    assert f"{copy}/full: run left out, expected metrics.jsonl in this run folder, found none" in inputs.notes


def test_a_run_that_logged_nothing_is_left_out_aloud(copy: Path):
    (copy / "full" / "metrics.jsonl").write_text("")
    assert f"{copy}/full: run left out, nothing is logged in metrics.jsonl yet" in read_inputs([copy]).notes


def test_a_run_that_started_from_another_says_that_its_counts_are_its_own_alone(copy: Path):
    path = copy / "full" / "config.json"
    path.write_text(path.read_text().replace('"init_from": ""', '"init_from": "runs/first"'))
    note = f"{copy}/full: started from the weights of runs/first; what those cost is not in this run's counts"
    assert note in read_inputs([copy]).notes


def test_results_and_a_run_in_one_folder_are_both_read(copy: Path):
    shutil.copy(copy / "glue" / "results.jsonl", copy / "full")
    inputs = read_inputs([copy / "full"])
    assert ([run.name for run in inputs.runs], len(inputs.protocols)) == (["full"], 10)


def test_checkpoints_and_hidden_folders_are_not_looked_into(copy: Path):
    for name in ("step-0000010", ".trash", "milestones"):
        shutil.copytree(copy / "full", copy / "full" / name)
    assert [run.name for run in read_inputs([copy / "full"]).runs] == ["full"]


def test_a_folder_named_relatively_and_one_named_absolutely_go_together(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(FIXTURES.parent)
    inputs = read_inputs([Path("records/full"), FIXTURES / "sweep"])
    assert [run.name for run in inputs.runs][:2] == ["full", "sweep/g0.125-s0"]


def test_an_empty_results_file_alone_is_no_report(tmp_path: Path):
    (tmp_path / "results.jsonl").touch()
    with pytest.raises(FormatError, match=r"expected a run or a result to report, found none .*the files are empty"):
        read_inputs([tmp_path])


def test_a_folder_with_neither_runs_nor_results_is_refused(tmp_path: Path):
    for path in (tmp_path, tmp_path / "missing"):
        with pytest.raises(
            FileNotFoundError, match=r"expected metrics.jsonl of a run or results.jsonl .* found neither"
        ):
            read_inputs([path])


def test_runs_on_other_files_stand_in_a_row_of_their_own_that_names_the_files(copy: Path):
    def other_file(record: dict[str, Any]) -> dict[str, Any]:
        if (record["protocol_id"], record["task"], record["seed"]) == ("full-100", "cola", 1):
            record["data"]["dev"]["sha256"] = "another"
        return record

    whole = read_inputs([copy]).protocols[0]
    rewrite(copy / "glue" / "results.jsonl", other_file)
    inputs = read_inputs([copy])
    shared, first, second = inputs.protocols[:3]
    assert {r["task"] for r in shared.records} == {r["task"] for r in whole.records} - {"cola"}
    assert (len(first.scores("cola")), len(second.scores("cola"))) == (2, 1)
    assert "; cola on train.tsv " in second.name
    assert second.name.endswith("dev.tsv another")
    assert len({row.name for row in inputs.protocols}) == len(inputs.protocols) == 12
    assert (
        sum("cola with recipe mercier; cola on" in note and "one of 2 data sets" in note for note in inputs.notes) == 2
    )
    assert total_days(spent(inputs)) == pytest.approx(total_days(spent(read_inputs([FIXTURES]))))  # none counted twice
    text = report(inputs, dict.fromkeys(figures(inputs), ""), 1.0)
    assert all(f"| ours: {row.name} |" in text for row in (shared, first, second))


def test_results_of_several_protocols_are_rows_of_their_own(tmp_path: Path):
    runs = [{**record("cola", seed, matthews=0.1), "protocol_id": name, "run_id": f"{name}{seed}"}
            for name in "ab" for seed in (0, 1)]  # fmt: skip
    append(tmp_path / "results.jsonl", *map(json.dumps, runs))
    assert [len(row.records) for row in read_inputs([tmp_path]).protocols] == [2, 2]


def test_results_belong_to_the_run_whose_folder_they_name_wherever_it_is_now(copy: Path):
    inputs = read_inputs([copy])
    assert inputs.protocols[0].run is next(run for run in inputs.runs if run.name == "full")
    assert read_inputs([copy / "glue"]).protocols[0].run is None


def test_results_of_two_runs_that_claim_one_folder_are_set_beside_neither(copy: Path):
    shutil.copytree(copy / "full", copy / "again")
    inputs = read_inputs([copy])
    assert inputs.protocols[0].run is None
    assert any("set beside no run, since several have this run_dir: again, full" in note for note in inputs.notes)


def test_results_of_weights_that_a_run_no_longer_holds_are_not_set_beside_it(copy: Path):
    folder = copy / "full" / "milestones" / "step-1000000"
    folder.mkdir(parents=True)
    for content in ('{"sha256": {"model.pt": "other"}}', '{"sha256": []}', "[]"):
        (folder / "manifest.json").write_text(content)
        inputs = read_inputs([copy])
        assert inputs.protocols[0].run is None
        assert inputs.protocols[1].run is not None
        assert any("results of other weights than" in note for note in inputs.notes)


def test_a_run_named_twice_counts_once():
    assert len(read_inputs([FIXTURES, FIXTURES / "full", FIXTURES / "glue"]).runs) == 7
    assert len(read_inputs([FIXTURES, FIXTURES / "glue"]).protocols[0].records) == 27


def test_settings_of_another_version_are_shown_at_their_default_and_stated(copy: Path):
    path = copy / "full" / "config.json"
    settings = json.loads(path.read_text())
    del settings["pretrain"]["sampling"], settings["pretrain"]["compile"]
    settings["pretrain"]["flavour"] = "mild"
    path.write_text(json.dumps(settings))
    (run,), _, notes = read_inputs([copy / "full"])
    assert run.config.sampling == "documents"
    assert f"{copy}/full: sampling not recorded when this run was made, shown at today's default" in notes
    assert not any("compile" in note for note in notes)  # free to change on resume
    assert f"{copy}/full: recorded settings this version does not know: flavour" in notes


def test_a_run_knows_its_clock_its_peak_and_when_its_collapse_was_declared():
    runs = {run.name: run for run in read_inputs([FIXTURES]).runs}
    full, collapsed = runs["full"], runs["sweep/g0.5-s0"]
    assert full.elapsed_days() == pytest.approx(1_000_000 * 128 * 128 / 52_000 / 86_400, rel=1e-4)
    assert full.elapsed_days(62_500) == pytest.approx(full.elapsed_days() / 16, rel=1e-4)
    assert full.elapsed_days(1) is None
    assert full.peak_memory_bytes == 9_412_345_856
    growing = [{"step": step, "peak_memory_bytes": peak} for step, peak in ((1, 5), (2, None), (3, 7), (4, 6))]
    assert dataclasses.replace(full, training=growing).peak_memory_bytes == 7
    assert (full.collapse_step, collapsed.collapse_step) == (None, 5_000)  # blind at 3, 4 and 5 thousand
    assert full.held_out()[0]["total_loss"] == pytest.approx(4.6 + 50 * 0.25)
    assert "total_loss" not in runs["control-mlm"].held_out()[0]
    assert (full.is_full_length, collapsed.is_full_length) == (True, False)
    assert full.layers == "12 layers x 256"
