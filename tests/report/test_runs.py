"""What runs left on disk is read leniently, every loss is stated, and nothing is averaged that does not belong."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from electra.files import FormatError
from electra.report.runs import one_protocol, read_inputs
from tests.conftest import ROOT
from tests.helpers.records import FIXTURES



@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The recorded runs, free to be damaged."""
    return Path(shutil.copytree(FIXTURES, tmp_path / "records"))


def rewrite(path: Path, change: Any) -> None:
    """Pass each record of a JSONL file through `change`."""
    records = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps(change(record)) + "\n" for record in records))


def test_runs_and_results_are_found_below_a_folder_and_named_by_what_tells_them_apart():
    inputs = read_inputs([FIXTURES])
    assert [run.name for run in inputs.runs][:3] == ["control-mlm", "full", "sweep/g0.125-s0"]
    assert len(inputs.protocols) == 10
    assert inputs.protocols[0].name == "full, update 1,000,000 (100 %); recipe mercier"


def test_a_damaged_line_is_named_by_its_number_the_rest_is_used_and_the_loss_is_stated():
    (run,), _, notes = read_inputs([FIXTURES / "full"])
    assert len(run.training) == len(run.evaluations) == 11
    assert notes == [f"{FIXTURES}/full/metrics.jsonl:5: left out, no JSON object, found "
                     "'{\"step\": 20000, \"loss\": 14.7, \"masked_lm'; the other 22 lines are used"]  # fmt: skip


def test_a_damaged_result_and_a_line_cut_by_a_kill_are_stated_too(copy: Path):
    path = copy / "glue" / "results.jsonl"
    lines = path.read_text().splitlines()
    path.write_text("\n".join(["[1, 2]", *lines[1:], '{"run_id": "x']))
    notes = read_inputs([copy / "glue"]).notes
    assert notes[0].startswith(f"{path}:1: left out, no JSON object, found '[1, 2]'")
    assert notes[1].startswith(f"{path}:{len(lines) + 1}: left out, cut short by a kill")


def test_a_run_folder_without_metrics_is_refused_when_named_and_left_out_aloud_when_found(copy: Path):
    (copy / "full" / "metrics.jsonl").unlink()
    with pytest.raises(
        FileNotFoundError, match=r"full: expected metrics.jsonl beside its provenance.json, found none; "
    ):
        read_inputs([copy / "full"])
    inputs = read_inputs([copy])
    assert "full" not in {run.name for run in inputs.runs}
    assert f"{copy}/full: left out, expected metrics.jsonl in this run folder, found none" in inputs.notes


def test_a_run_that_logged_nothing_is_left_out_aloud(copy: Path):
    (copy / "full" / "metrics.jsonl").write_text("")
    assert f"{copy}/full: left out, nothing is logged in metrics.jsonl yet" in read_inputs([copy]).notes


def test_a_run_that_started_from_another_says_that_its_counts_are_its_own_alone(copy: Path):
    path = copy / "full" / "config.json"
    path.write_text(path.read_text().replace('"init_from": ""', '"init_from": "runs/first"'))
    note = f"{copy}/full: started from the weights of runs/first; what those cost is not in this run's counts"
    assert note in read_inputs([copy]).notes


def test_a_record_without_its_step_is_left_out_aloud(copy: Path):
    with open(copy / "full" / "metrics.jsonl", "a") as file:
        file.write('{"loss": 1.0}\n')
    assert f"{copy}/full/metrics.jsonl: 1 records without a step left out" in read_inputs([copy]).notes


def test_results_and_a_run_in_one_folder_are_both_read(copy: Path):
    shutil.copy(copy / "glue" / "results.jsonl", copy / "full")
    inputs = read_inputs([copy / "full"])
    assert ([run.name for run in inputs.runs], len(inputs.protocols)) == (["full"], 10)


def test_a_folder_named_relatively_and_one_named_absolutely_go_together(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(FIXTURES.parent)
    inputs = read_inputs([Path("records/full"), FIXTURES / "sweep"])
    assert [run.name for run in inputs.runs][:2] == ["full", "sweep/g0.125-s0"]


def test_a_record_or_a_run_without_its_fields_is_left_out_aloud(copy: Path):
    with open(copy / "glue" / "results.jsonl", "a") as file:
        file.write('{"task": "cola"}\n')
    (copy / "full" / "config.json").write_text('{"encoder": {}}')
    inputs = read_inputs([copy])
    assert len(inputs.protocols) == 10
    said = "\n".join(inputs.notes)
    assert "results.jsonl: a record left out, expected the fields of train_glue.py, found no checkpoint, " in said
    assert "full: left out, expected the settings of a pre-training run, found no pretrain, shards, tokenizer" in said


def test_a_folder_with_neither_runs_nor_results_is_refused(tmp_path: Path):
    for path in (tmp_path, tmp_path / "missing"):
        with pytest.raises(
            FileNotFoundError, match=r"expected metrics.jsonl of a run or results.jsonl .* found neither"
        ):
            read_inputs([path])


def test_results_of_two_protocols_are_never_held_together_and_both_are_named():
    first, second = read_inputs([FIXTURES]).protocols[:2]
    with pytest.raises(FormatError, match=r"expected runs of one protocol, found 2 \(.*update 1,000,000.* \| .*62,500"):
        one_protocol([*first.records, *second.records])


def test_one_protocol_on_two_dev_files_is_refused_by_name(copy: Path):
    def other_file(record: dict[str, Any]) -> dict[str, Any]:
        if (record["protocol_id"], record["task"], record["seed"]) == ("full-100", "cola", 1):
            record["data"]["dev"]["sha256"] = "another"
        return record

    rewrite(copy / "glue" / "results.jsonl", other_file)
    with pytest.raises(
        FormatError, match=r"cola of from runs/full.*: expected all seeds on the same train and dev files"
    ):
        read_inputs([copy])


def test_results_belong_to_the_run_whose_folder_they_name_wherever_it_is_now(copy: Path):
    inputs = read_inputs([copy])
    assert inputs.protocols[0].run is next(run for run in inputs.runs if run.name == "full")
    assert read_inputs([copy / "glue"]).protocols[0].run is None


def test_two_runs_that_claim_one_folder_are_refused(copy: Path):
    shutil.copytree(copy / "full", copy / "again")
    with pytest.raises(FormatError, match=r"expected one run with this run_dir among the inputs, found again, full"):
        read_inputs([copy])


def test_results_of_weights_that_a_run_no_longer_holds_are_not_set_beside_it(copy: Path):
    folder = copy / "full" / "milestones" / "step-1000000"
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text(json.dumps({"sha256": {"model.pt": "other"}}))
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
    assert (full.collapse_step, collapsed.collapse_step) == (None, 5_000)  # blind at 3, 4 and 5 thousand
    assert full.held_out()[0]["total_loss"] == pytest.approx(4.6 + 50 * 0.25)
    assert "total_loss" not in runs["control-mlm"].held_out()[0]
    assert (full.is_full_length, collapsed.is_full_length) == (True, False)
    assert full.scale(62_500) == "12 layers x 256, 1,024.0M tokens"
