"""Reading run folders and results folders: what is used, what is left out and noted, what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from electra.files import FormatError, read_json, write_json
from electra.glue.results import RECORD_FIELDS
from electra.report.efficiency import spent, total_days
from electra.report.page import figures, report
from electra.report.runs import _rows, read_inputs
from tests.helpers.records import FIXTURES, record, rewrite


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The recorded runs, free to be damaged."""
    return Path(shutil.copytree(FIXTURES, tmp_path / "records"))


def test_runs_and_results_are_found_once_below_folders_and_named_by_what_tells_them_apart():
    inputs = read_inputs([FIXTURES, FIXTURES / "full", FIXTURES / "glue"])
    assert [run.name for run in inputs.runs][:3] == ["control-mlm", "full", "sweep/g0.125-s0"]
    assert (len(inputs.runs), len(inputs.protocols)) == (7, 10)
    assert inputs.protocols[0].name == "full, update 1,000,000 (100 %); recipe mercier"
    assert len(inputs.protocols[0].records) == 27


def test_checkpoints_and_hidden_folders_are_not_searched(copy: Path):
    for name in ("step-0000010", ".trash", "milestones"):
        shutil.copytree(copy / "full", copy / "full" / name)
    shutil.copy(copy / "glue" / "results.jsonl", copy / "full")  # results and a run in one folder
    inputs = read_inputs([copy / "full"])
    assert ([run.name for run in inputs.runs], len(inputs.protocols)) == (["full"], 10)


def test_a_folder_named_relatively_and_one_named_absolutely_go_together(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(FIXTURES.parent)
    inputs = read_inputs([Path("records/full"), FIXTURES / "sweep"])
    assert [run.name for run in inputs.runs][:2] == ["full", "sweep/g0.125-s0"]


@pytest.mark.parametrize(
    "line",
    ["[1, 2]", "{", '{"step": "3"}', '{"step": 1, "disc_auc": NaN}', '{"step": 1, "elapsed_seconds": [1]}', '{"a": 1}'],
)
def test_a_run_with_a_damaged_log_is_left_out_with_the_number_of_the_line(copy: Path, line: str):
    path = copy / "full" / "metrics.jsonl"
    content = path.read_text()
    path.write_text(f"{content}{line}\n")
    (note,) = read_inputs([copy]).notes
    assert note.startswith(f"{copy}/full: run left out: {path}:{content.count(chr(10)) + 1}: expected ")
    path.write_text(content + content.splitlines()[-1] + "\n")
    assert read_inputs([copy]).notes == [f"{copy}/full: run left out: metrics.jsonl has an update twice"]
    path.write_text(content + '{"step": 9')  # what a kill leaves at the end
    assert read_inputs([copy]).notes == []


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("config.json", {"pretrain": None}),
        ("config.json", {"pretrain": {"batch_size": "128"}}),
        ("config.json", {"pretrain": {"generator_size": 0.51}}),
        ("config.json", {"encoder": {"num_heads": 0}}),
        ("provenance.json", {"device": None}),
    ],
)
def test_a_run_folder_with_a_damaged_file_is_left_out_by_name_and_the_others_are_read(copy: Path, name, changes):
    write_json(copy / "full" / name, {**read_json(copy / "full" / name), **changes})
    inputs = read_inputs([copy])
    assert len(inputs.runs) == 6
    (note,) = inputs.notes
    assert note.startswith(f"{copy}/full: run left out: ")


def test_a_run_that_logged_nothing_is_left_out_and_refused_alone(copy: Path):
    path = copy / "full" / "metrics.jsonl"
    path.write_text("")
    assert read_inputs([copy]).notes == [f"{copy}/full: run left out: nothing is logged in metrics.jsonl yet"]
    path.unlink()
    with pytest.raises(FormatError, match=r"found none that can be used: .*full: run left out: .*metrics.jsonl"):
        read_inputs([copy / "full"])


GONE = "gone"
BROKEN_RECORDS = [
    *[{name: []} for name in RECORD_FIELDS],
    *[{name: GONE} for name in RECORD_FIELDS if name not in ("model", "init_from_mnli")],
    *[{"metrics": {"matthews": score}} for score in ("0.5", None)],
    *[{"run_id": 1.0}, {"main_metric": "f1"}, {"recipe": "none"}],
    *[{"data": {}}, {"data": {"dev": {}}}, {"data": {"dev": {"path": "x", "sha256": 1}}}, {"data": {"train": {}}}],
    *[{"settings": {}}, {"provenance": {"commit": "1"}}, {"provenance": {"device": [], "commit": "1"}}],
]


@pytest.mark.parametrize("change", BROKEN_RECORDS, ids=str)
def test_a_record_that_train_glue_cannot_have_written_is_refused(tmp_path: Path, change):
    good = record("cola", 0, matthews=0.5)
    bad = {name: value for name, value in {**good, "run_id": "bad", **change}.items() if value is not GONE}
    (tmp_path / "results.jsonl").write_text(f"{json.dumps(good)}\n{json.dumps(bad)}\n")
    with pytest.raises(FormatError, match=r"results.jsonl:.*expected .*; restore or remove"):
        read_inputs([tmp_path])


def test_a_folder_with_neither_runs_nor_results_is_refused(tmp_path: Path):
    message = r"expected a run's metrics.jsonl or .* results.jsonl .* found neither"
    for path in (tmp_path, tmp_path / "missing"):
        with pytest.raises(FileNotFoundError, match=message):
            read_inputs([path])
    (tmp_path / "results.jsonl").touch()
    with pytest.raises(FormatError, match=r"expected a run or a result to report, found none .*the files are empty"):
        read_inputs([tmp_path])


def test_runs_on_other_files_have_a_row_of_their_own_that_names_the_files(copy: Path):
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
    assert sum("cola with recipe mercier; cola on" in note for note in inputs.notes) == 2
    assert total_days(spent(inputs)) == pytest.approx(total_days(spent(read_inputs([FIXTURES]))))  # none counted twice
    text = report(inputs, dict.fromkeys(figures(inputs), ""))
    assert all(f"| ours: {row.name} |" in text for row in (shared, first, second))


def test_results_belong_to_the_run_whose_folder_they_name_if_there_is_one_such_run(copy: Path):
    assert read_inputs([copy / "glue"]).protocols[0].run is None
    run = read_inputs([copy]).protocols[0].run
    assert run is not None
    assert run.name == "full"
    shutil.copytree(copy / "full", copy / "z")
    assert read_inputs([copy]).notes == [f"{copy}/z: run left out: a copy of a run that was read before"]
    rewrite(copy / "z" / "metrics.jsonl", lambda record: {**record, "elapsed_seconds": 1.0})
    inputs = read_inputs([copy])
    assert inputs.protocols[0].run is None
    assert any("since several have this run_dir: full, z" in note for note in inputs.notes)


def test_results_of_an_update_that_a_run_cannot_have_made_do_not_belong_to_it(copy: Path):
    rewrite(copy / "glue" / "results.jsonl", lambda record: {**record, "checkpoint_step": 2_000_000})
    assert read_inputs([copy]).protocols[0].run is None


def test_one_run_with_two_scores_is_shown_once_and_noted_and_rows_that_look_alike_name_their_protocol(copy: Path):
    shutil.copytree(copy / "glue", copy / "z")
    rewrite(copy / "z" / "results.jsonl", lambda record: {**record, "metrics": dict.fromkeys(record["metrics"], 0.5)})
    known, inputs = read_inputs([copy / "glue"]), read_inputs([copy])
    assert [p.summary for p in inputs.protocols] == [p.summary for p in known.protocols]
    assert inputs.notes[0].startswith(f"{copy}/z: run ")
    rewrite(copy / "z" / "results.jsonl", lambda r: {**r, "run_id": r["run_id"] + "z", "protocol_id": "z"})
    names = [p.name for p in read_inputs([copy]).protocols]
    assert any(name.endswith("; protocol z") for name in names)
    alike = [{**record("cola", 0, files=f, matthews=0.1), "protocol_id": p} for p in "pz" for f in ("ab", "xb")]
    assert len({row.name for row in _rows(alike, [], [])}) == 4


def test_results_of_weights_that_a_run_no_longer_holds_do_not_belong_to_it(copy: Path):
    folder = copy / "full" / "milestones" / "step-1000000"
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text('{"sha256": {"model.pt": "other"}}')
    inputs = read_inputs([copy])
    assert inputs.protocols[0].run is None
    assert inputs.protocols[1].run is not None
    assert any("now holds other weights" in note for note in inputs.notes)


def test_settings_of_another_version_and_another_start_are_noted(copy: Path):
    path = copy / "full" / "config.json"
    settings = json.loads(path.read_text())
    del settings["pretrain"]["sampling"], settings["pretrain"]["compile"]
    settings["pretrain"] |= {"flavour": "mild", "init_from": "runs/first"}
    path.write_text(json.dumps(settings))
    (run,), _, notes = read_inputs([copy / "full"])
    assert run.config.sampling == "documents"
    assert notes == [  # compile is free to change on resume
        f"{copy}/full: sampling not recorded by this run, shown at today's default",
        f"{copy}/full: recorded settings this version does not know: flavour",
        f"{copy}/full: started from the weights of runs/first; their cost is not counted",
    ]


def test_a_run_knows_its_clock_its_total_loss_and_when_its_collapse_was_declared():
    runs = {run.name: run for run in read_inputs([FIXTURES]).runs}
    full, collapsed = runs["full"], runs["sweep/g0.5-s0"]
    assert full.elapsed_days() == pytest.approx(1_000_000 * 128 * 128 / 52_000 / 86_400, rel=1e-4)
    assert full.elapsed_days(62_500) == pytest.approx(full.elapsed_days() / 16, rel=1e-4)
    assert full.elapsed_days(1) is None
    assert (full.collapse_step, collapsed.collapse_step) == (None, 5_000)  # AUC of 0.5 at 3, 4 and 5 thousand
    assert full.evaluations[0]["total_loss"] == pytest.approx(4.6 + 50 * 0.25)
    assert "total_loss" not in runs["control-mlm"].evaluations[0]
