"""Read run folders and results folders for a report. Runs that cannot be used are left out, with a note."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from electra.cli import from_dict, printable
from electra.config import EncoderConfig, PretrainConfig
from electra.files import FormatError, read_json, read_records
from electra.glue.results import FILE_NAME, Record, by_data, data_name, read_results, summarize_results
from electra.model.flops import release_update_flops, update_flops
from electra.pretrain.collapse import is_collapsed
from electra.pretrain.masking import count_targets
from electra.report.literature import official_curve
from electra.training.checkpoint import MILESTONES, step_folder
from electra.training.log import HELD_OUT, METRICS, PROVENANCE

OTHERS = ("elapsed_seconds", "tokens_per_second", "peak_memory_bytes", "disc_auc_high", "disc_base_rate_entropy")
LOGGED = {**dict.fromkeys((*official_curve(), *OTHERS), float | None), "step": int}
"""{field: type} of what a report reads from metrics.jsonl; a number that was not logged is null or missing."""


def flops_of_update(config: PretrainConfig, shape: EncoderConfig) -> tuple[float, float]:
    """Return the FLOPs of one update by two counts: the release's, and that of matrix products only."""
    size, length, rows, objective = config.generator_size, config.seq_length, config.batch_size, config.objective
    targets = count_targets(length, config.mask_prob)
    by_release = release_update_flops(shape, size, length, rows, objective)
    return by_release, update_flops(shape, size, length, targets, rows, objective)


@dataclasses.dataclass(frozen=True)
class PretrainRun:
    """One pre-training run, read from its settings, provenance and log, without the weights."""

    folder: Path = dataclasses.field(compare=False)
    name: str = dataclasses.field(compare=False)  # the folder, relative to the common parent of all runs
    config: PretrainConfig
    shape: EncoderConfig
    tokenizer: str  # fingerprint of the tokenizer
    shards: str  # fingerprint of the training shards
    device: str
    num_devices: int
    commit: str
    training: Sequence[Mapping[str, Any]]  # training records in order of step
    evaluations: Sequence[Mapping[str, Any]]  # held-out metrics in order of step, with `total_loss`

    @property
    def last_step(self) -> int:
        """The number of the last update that was logged."""
        return max(record["step"] for record in (*self.training, *self.evaluations))

    def flops(self, step: int) -> tuple[float, float]:
        """Return the FLOPs of the updates up to a step, by both counts of `flops_of_update`."""
        by_release, products = flops_of_update(self.config, self.shape)
        return step * by_release, step * products

    def elapsed_days(self, step: int | None = None) -> float | None:
        """Return the days that the run took up to a step, or to its end; None if no time was logged."""
        steps = [r for r in self.training if r.get("elapsed_seconds") and (step is None or r["step"] <= step)]
        return steps[-1]["elapsed_seconds"] / 86_400 if steps else None

    @property
    def collapse_step(self) -> int | None:
        """The update of the first evaluation at which `is_collapsed` is true; None without a collapse."""
        found, warmup = self.evaluations, self.config.num_warmup_steps
        return next((int(found[i]["step"]) for i in range(len(found)) if is_collapsed(found[: i + 1], warmup)), None)


@dataclasses.dataclass(frozen=True, eq=False)
class Protocol:
    """Fine-tuning records of one checkpoint with one set of settings: a row of a table. Each task has one data set."""

    records: Sequence[Record]
    run: PretrainRun | None = None  # the run that made the checkpoint, if it is among the inputs
    data: str = ""  # task and its files, if the same task on other files has another row; else ""

    @property
    def facts(self) -> Record:
        """The first record. Use it for fields that are equal in all records."""
        return self.records[0]

    @property
    def step(self) -> int:
        """The number of updates of the checkpoint."""
        return int(self.facts["checkpoint_step"])

    @property
    def name(self) -> str:
        """The name of the row: checkpoint, update and protocol."""
        run = self.run.name if self.run else self.facts["checkpoint"]
        share = f" ({100 * self.step / self.run.config.num_train_steps:.4g} %)" if self.run else ""
        is_random = self.facts["from_scratch"]
        start = f"random start in the shape of {run}" if is_random else f"{run}, update {self.step:,}{share}"
        return printable(f"{start}; {self.protocol}")

    @property
    def protocol(self) -> str:
        """The recipe, the changed settings, and the data set if a task has several."""
        changes = [f"{name} {value}" for name, value in self.facts["overrides"].items()]
        changes += ["from an MNLI model"] if self.facts["init_from_mnli"] else []
        return "; ".join([f"recipe {self.facts['recipe']}", *changes, *([self.data] if self.data else [])])

    @functools.cached_property
    def summary(self) -> dict[str, Any]:
        """The spread over seeds of every metric and average: see `summarize_results`."""
        return summarize_results(self.records)

    @property
    def days(self) -> float:
        """The days of training and evaluation, added up over all records."""
        return sum(r["train_seconds"] + r["evaluate_seconds"] for r in self.records) / 86_400

    def scores(self, task: str) -> dict[int, float]:
        """Return {seed: main metric of a task, as a fraction}; a seed without a score is left out."""
        mine = [(r["seed"], r["metrics"].get(r["main_metric"])) for r in self.records if r["task"] == task]
        return {seed: score for seed, score in mine if score is not None}

    def files(self, task: str) -> set[tuple[str, ...]]:
        """Return the digests of the files of a task, a tuple for each data set; empty if the task was not run."""
        return {*by_data(record for record in self.records if record["task"] == task)}


class Inputs(NamedTuple):
    """All records that a report shows."""

    runs: list[PretrainRun]
    protocols: list[Protocol]
    notes: list[str]  # one sentence for each thing that was left out or assumed


def find_folders(path: Path) -> Iterator[Path]:
    """Yield every run folder and results folder at or under a path, sorted by name. Checkpoint folders are skipped."""
    for folder, names, files in os.walk(path):
        names[:] = sorted(name for name in names if not name.startswith(("step-", ".")) and name != MILESTONES)
        if {METRICS, PROVENANCE, FILE_NAME} & {*files}:
            yield Path(folder)


def read_inputs(paths: Sequence[Path]) -> Inputs:
    """Read all runs and results at or under some paths.

    Raises FileNotFoundError if a path has neither; FormatError if a results file is damaged or nothing can be used.
    """
    notes: list[str] = []
    runs: dict[Path, PretrainRun] = {}
    results: dict[str, Record] = {}
    for path in paths:
        folders = [*find_folders(path)]
        if not folders:
            problem = f"expected a run's {METRICS} or fine-tuning's {FILE_NAME} here or below, found neither"
            remedy = "name a folder that train_pretrain.py or train_glue.py wrote"
            raise FileNotFoundError(f"{path}: {problem}; {remedy}")
        for folder in folders:
            for record in read_results(folder):
                if results.setdefault(record["run_id"], record)["metrics"] != record["metrics"]:
                    notes.append(f"{folder}: run {record['run_id']} left out: read before, with other scores")
            if {METRICS, PROVENANCE} & {*os.listdir(folder)} and folder.resolve() not in runs:
                try:
                    if (run := _read_run(folder, notes)) in runs.values():
                        raise FormatError("a copy of a run that was read before")
                    runs[folder.resolve()] = run
                except (ValueError, OSError) as error:
                    notes.append(f"{folder}: run left out: {error}")
    if not runs and not results:
        reason = notes[0] if notes else "the files are empty"
        raise FormatError(f"expected a run or a result to report, found none that can be used: {reason}")
    shared = os.path.commonpath([folder.parent for folder in runs]) if runs else ""
    names = [printable(folder.relative_to(shared).as_posix()) for folder in runs]
    found = [dataclasses.replace(run, name=name) for name, run in zip(names, runs.values(), strict=True)]
    return Inputs(found, _rows(results.values(), found, notes), [*dict.fromkeys(notes)])


def _rows(results: Iterable[Record], runs: Sequence[PretrainRun], notes: list[str]) -> list[Protocol]:
    """Return a row for each protocol; a task with several data sets has its own row for each data set instead."""
    protocols: dict[str, list[Record]] = {}
    for record in results:
        protocols.setdefault(record["protocol_id"], []).append(record)
    rows = []
    for records in protocols.values():
        run, groups = _run_of(records[0], runs, notes), by_data(records)
        num_sets = Counter(task for task, *_ in groups)
        if shared := [record for record in records if num_sets[record["task"]] == 1]:
            rows.append(Protocol(shared, run))
        for (task, *_), group in groups.items():
            if num_sets[task] > 1:
                rows.append(Protocol(group, run, f"{task} on {data_name(group[0])}"))
                notes.append(f"{task} with {rows[-1].protocol}: one of {num_sets[task]} data sets, in its own row")
    names = Counter(row.name for row in rows)
    ids = [f"protocol {row.facts['protocol_id']}" * (names[row.name] > 1) for row in rows]  # of rows that look alike
    data = ["; ".join(filter(None, (row.data, name))) for row, name in zip(rows, ids, strict=True)]
    return [dataclasses.replace(row, data=text) for row, text in zip(rows, data, strict=True)]


def _read_run(folder: Path, notes: list[str]) -> PretrainRun:
    """Read the run of a folder. Raises ValueError or OSError if a file is missing, damaged or empty."""
    file = folder / "config.json"
    settings = read_json(file, pretrain=dict, encoder=dict, tokenizer=str, shards=str)
    provenance = read_json(folder / PROVENANCE, device=str, commit=str, num_devices=int | None)
    config = from_dict(PretrainConfig, settings["pretrain"], file, is_partial=True)
    shape = from_dict(EncoderConfig, settings["encoder"], file, is_partial=True)
    shape.generator(config.generator_size)  # raises ValueError if the heads do not divide the width
    for known, saved in ((config, settings["pretrain"]), (shape, settings["encoder"])):
        is_free = {field.name: field.metadata["free"] for field in dataclasses.fields(known)}
        if missing := sorted(name for name, free in is_free.items() if name not in saved and not free):
            notes.append(f"{folder}: {', '.join(missing)} not recorded by this run, shown at today's default")
        if unknown := sorted(saved.keys() - is_free.keys()):
            notes.append(f"{folder}: recorded settings this version does not know: {', '.join(unknown)}")
    records = sorted(read_records(folder / METRICS, **LOGGED), key=lambda record: record["step"])
    if not records:
        raise FormatError(f"nothing is logged in {METRICS} yet")
    if len({(record["step"], record.get("split")) for record in records}) < len(records):
        raise FormatError(f"{METRICS} has an update twice")
    if config.init_from:
        notes.append(f"{folder}: started from the weights of {config.init_from}; their cost is not counted")
    evaluations = [record for record in records if record.get("split") == HELD_OUT]
    for record in evaluations:
        if record.get("masked_lm_loss") is not None and record.get("disc_loss") is not None:
            generator, discriminator = record["masked_lm_loss"], record["disc_loss"]
            record["total_loss"] = config.gen_weight * generator + config.disc_weight * discriminator
    training = [record for record in records if record.get("split") != HELD_OUT]
    num_devices = provenance.get("num_devices") or 1  # older versions used one device and did not record it
    texts, commit = (settings["tokenizer"], settings["shards"], provenance["device"]), provenance["commit"]
    return PretrainRun(folder, folder.name, config, shape, *texts, num_devices, commit, training, evaluations)


def _run_of(record: Record, runs: Sequence[PretrainRun], notes: list[str]) -> PretrainRun | None:
    """Return the run whose folder (its path now, or that in its config) contains a record's checkpoint; else None."""
    checkpoint, step = Path(record["checkpoint"]), record["checkpoint_step"]
    places = {checkpoint, *checkpoint.parents} - {Path(".")}
    found = [run for run in runs if {Path(run.config.run_dir), run.folder} & places]
    found = [run for run in found if step <= run.config.num_train_steps]
    if len(found) > 1:
        names = ", ".join(run.name for run in found)
        notes.append(f"{checkpoint}: results belong to no run, since several have this run_dir: {names}; report one")
        return None
    for run in found:
        for folder in (step_folder(run.folder, step), step_folder(run.folder / MILESTONES, step)):
            file = folder / "manifest.json"
            digests = read_json(file, sha256=dict[str, str])["sha256"] if file.exists() else {}
            if digests.get("model.pt", record["checkpoint_sha256"]) != record["checkpoint_sha256"]:
                notes.append(f"{checkpoint}: results belong to no run, since {folder} now holds other weights")
                return None
        return run
    return None
