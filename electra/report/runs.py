"""What finished runs left on disk, read for a report: run folders, results folders, and every loss stated."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

from electra.training.checkpoint import step_folder
from electra.cli import build
from electra.config import (EncoderConfig, PretrainConfig)
from electra.pretrain.masking import count_targets
from electra.model.flops import (release_update_flops, update_flops)
from electra.pretrain.collapse import is_collapsed
from electra.files import FormatError, read_json, read_lines
from electra.glue.results import (FILE_NAME, Record, describe, summarize_results, with_current_names)
from electra.training.log import HELD_OUT
from electra.training.state import MILESTONES

METRICS = "metrics.jsonl"
RUN_FILES = (METRICS, "config.json", "provenance.json")
RESULT_FIELDS = frozenset(
    "run_id protocol_id task seed metrics main_metric failed data settings overrides recipe checkpoint checkpoint_step "
    "checkpoint_sha256 from_scratch init_from_mnli train_seconds precision provenance".split()
)
"""What a report reads of a fine-tuning record."""
Config = TypeVar("Config")
Note = Callable[[str], None]


@dataclasses.dataclass(frozen=True)
class PretrainRun:
    """One pre-training run, from the small files of its folder; weights are not read."""

    folder: Path
    name: str  # what tables and legends call it: its folder, below what all runs of the report share
    config: PretrainConfig
    shape: EncoderConfig
    settings: Mapping[str, Any]  # config.json as it stands
    provenance: Mapping[str, Any]
    training: Sequence[Mapping[str, Any]]  # in order of step
    evaluations: Sequence[Mapping[str, Any]]  # held out, in order of step

    @property
    def last_step(self) -> int:
        """The last update that was logged."""
        return max(record["step"] for record in (*self.training, *self.evaluations))

    @property
    def is_full_length(self) -> bool:
        """Whether it follows table 5 in shape, batch, row length and horizon: only then is it set beside the report."""
        config = (self.config.batch_size, self.config.seq_length, self.config.num_train_steps, self.config.objective)
        return config == (128, 128, 1_000_000, "rtd") and self.shape == dataclasses.replace(
            EncoderConfig(), vocab_size=self.shape.vocab_size
        )

    def scale(self, step: int | None = None) -> str:
        """How large a model saw how much up to a step, or to its end: what must stand beside any conclusion."""
        tokens = (step or self.last_step) * self.config.batch_size * self.config.seq_length
        return f"{self.shape.num_layers} layers x {self.shape.hidden_size}, {tokens / 1e6:,.1f}M tokens"

    def flops(self, step: int) -> tuple[float, float]:
        """FLOPs of its updates up to a step: by the release's convention, and matrix products alone."""
        config, shape, objective = self.config, self.shape, self.config.objective
        size, length, rows = config.generator_size, config.seq_length, config.batch_size
        targets = count_targets(length, config.mask_prob)
        by_release = release_update_flops(shape, size, length, rows, objective)
        return step * by_release, step * update_flops(shape, size, length, targets, rows, objective)

    def elapsed_days(self, step: int | None = None) -> float | None:
        """Days on its own clock up to a step, or to its end; None if no record tells."""
        steps = [r for r in self.training if r.get("elapsed_seconds") and (step is None or r["step"] <= step)]
        return steps[-1]["elapsed_seconds"] / 86_400 if steps else None

    @property
    def num_devices(self) -> int:
        """How many worked in parallel; records from before this was noted were made by one."""
        return int(self.provenance.get("num_devices", 1))

    def median(self, name: str) -> float | None:
        """The median of a logged number over the run; None if it was never logged."""
        values = [record[name] for record in self.training if record.get(name) is not None]
        return float(np.median(values)) if values else None

    @property
    def peak_memory_bytes(self) -> int | None:
        """The most memory one device held; None if it was never logged."""
        return max(
            (record["peak_memory_bytes"] for record in self.training if "peak_memory_bytes" in record), default=None
        )

    def held_out(self) -> list[dict[str, Any]]:
        """The held-out records, with `total_loss`, the weighted sum that is trained on, where both parts are there."""
        found = []
        for record in self.evaluations:
            generator, discriminator = record.get("masked_lm_loss"), record.get("disc_loss")
            if generator is not None and discriminator is not None:
                total = self.config.gen_weight * generator + self.config.disc_weight * discriminator
                record = {**record, "total_loss": total}
            found.append({**record})
        return found

    @property
    def collapse_step(self) -> int | None:
        """The update at which the watch would first have declared a collapse."""
        for end in range(1, len(self.evaluations) + 1):
            if is_collapsed(self.evaluations[:end], self.config.num_warmup_steps):
                return int(self.evaluations[end - 1]["step"])
        return None


@dataclasses.dataclass(frozen=True)
class Protocol:
    """The fine-tuning runs of one protocol: one checkpoint, one set of settings, any tasks and seeds."""

    records: Sequence[Record]
    run: PretrainRun | None  # the pre-training run of its checkpoint, where that is among the inputs

    @property
    def facts(self) -> Record:
        """A record, for what all of them share."""
        return self.records[0]

    @property
    def step(self) -> int:
        """The update its checkpoint was taken at."""
        return int(self.facts["checkpoint_step"])

    @property
    def name(self) -> str:
        """Its row's name in a table."""
        facts = self.facts
        run = self.run.name if self.run else facts["checkpoint"]
        share = f" ({100 * self.step / self.run.config.num_train_steps:.4g} %)" if self.run else ""
        start = (
            f"random start in the shape of {run}" if facts["from_scratch"] else f"{run}, update {self.step:,}{share}"
        )
        return f"{start}; {self.protocol}"

    @property
    def protocol(self) -> str:
        """Recipe and what was changed of it."""
        changes = [f"{name} {value}" for name, value in self.facts["overrides"].items()]
        changes += ["from an MNLI model"] if self.facts["init_from_mnli"] else []
        return "; ".join([f"recipe {self.facts['recipe']}", *changes])

    @functools.cached_property
    def summary(self) -> dict[str, Any]:
        """Spread of every metric and average: see `summarize_results`."""
        return summarize_results(self.records)

    @property
    def days(self) -> float:
        """Days of training and evaluation on its runs' own clocks, added up."""
        return sum(r["train_seconds"] + r.get("evaluate_seconds", 0.0) for r in self.records) / 86_400

    def scores(self, task: str) -> dict[int, float]:
        """{seed: main metric of a task, as a fraction}."""
        return {r["seed"]: r["metrics"][r["main_metric"]] for r in self.records if r["task"] == task}


class Inputs(NamedTuple):
    """All that a report is drawn from."""

    runs: list[PretrainRun]
    protocols: list[Protocol]
    notes: list[str]  # what was left out or assumed, one sentence each


def one_protocol(records: Sequence[Record], run: PretrainRun | None = None) -> Protocol:
    """Hold records together as one row of a table.

    Raises:
        FormatError: they are of several protocols, or a task was scored on several dev files; each is named.
    """
    protocols = {record["protocol_id"]: describe(record) for record in records}
    if len(protocols) != 1:
        raise FormatError("an average: expected runs of one protocol, found "
                          f"{len(protocols)} ({' | '.join(protocols.values())}); keep them apart")  # fmt: skip
    for task in dict.fromkeys(record["task"] for record in records):
        files = {tuple(part["sha256"] for split, part in record["data"].items() if not split.startswith("test"))
                 for record in records if record["task"] == task}  # fmt: skip
        if len(files) != 1:
            raise FormatError(f"{task} of {describe(records[0])}: expected all seeds on the same train and dev files, "
                              f"found {len(files)} sets of them; keep them apart")  # fmt: skip
    return Protocol(records, run)


def find_folders(path: Path) -> Iterator[Path]:
    """Every run folder and results folder at or under a path, in order of name; checkpoints are not looked into."""
    for folder, names, files in os.walk(path):
        names[:] = sorted(name for name in names if not name.startswith(("step-", ".")) and name != MILESTONES)
        if {METRICS, FILE_NAME, "provenance.json"} & {*files}:
            yield Path(folder)


def read_inputs(paths: Sequence[Path]) -> Inputs:
    """Read all runs and results at or under some paths.

    Raises:
        FileNotFoundError: a path is not there, or holds no run and no result.
        FormatError: results of one protocol do not belong together.
    """
    notes: list[str] = []
    runs: dict[Path, PretrainRun] = {}
    results: dict[str, Record] = {}
    for path in paths:
        folders = [*find_folders(path)]
        if not folders:
            raise FileNotFoundError(
                f"{path}: expected {METRICS} of a run or {FILE_NAME} of fine-tuning in it or below, found neither; "
                "name a folder that train_pretrain.py or train_glue.py wrote"
            )
        for folder in folders:
            if (folder / FILE_NAME).exists():
                results |= {record["run_id"]: record for record in _read_results(folder / FILE_NAME, notes.append)}
            if {METRICS, "provenance.json"} & {*os.listdir(folder)}:
                if folder == path and not (path / METRICS).exists():
                    raise FileNotFoundError(f"{path}: expected {METRICS} beside its provenance.json, found none; "
                                            "restore it, or leave this run out")  # fmt: skip
                run = _read_run(folder, notes.append)
                runs |= {folder.resolve(): run} if run else {}
    protocols: dict[str, list[Record]] = {}
    for record in results.values():
        protocols.setdefault(record["protocol_id"], []).append(record)
    shared = os.path.commonpath([folder.parent for folder in runs]) if runs else ""
    found = [dataclasses.replace(run, name=folder.relative_to(shared).as_posix()) for folder, run in runs.items()]
    linked = [one_protocol(records, _run_of(records[0], found, notes.append)) for records in protocols.values()]
    return Inputs(found, linked, [*dict.fromkeys(notes)])


def _read_lines(path: Path, note: Note) -> list[Record]:
    records, damaged = read_lines(path)
    for line in damaged:
        cut = "cut short by a kill" if line.is_cut_short else f"no JSON object, found {line.text!r}"
        note(f"{path}:{line.number}: left out, {cut}; the other {len(records):,} lines are used")
    return records


def _read_results(path: Path, note: Note) -> list[Record]:
    """The records of a results file that have every field a report reads; the others are noted."""
    records = _read_lines(path, note)
    for record in records:
        if missing := sorted(RESULT_FIELDS - record.keys()):
            note(f"{path}: a record left out, expected the fields of train_glue.py, found no {', '.join(missing)}")
    return [with_current_names(record) for record in records if record.keys() >= RESULT_FIELDS]


def _read_run(folder: Path, note: Note) -> PretrainRun | None:
    """A run folder, or None with the reason noted."""
    for name in RUN_FILES:
        if not (folder / name).exists():
            note(f"{folder}: left out, expected {name} in this run folder, found none")
            return None
    settings = read_json(folder / "config.json")
    if missing := sorted({"pretrain", "encoder", "tokenizer", "shards"} - settings.keys()):
        note(f"{folder}: left out, expected the settings of a pre-training run, found no {', '.join(missing)}")
        return None
    logged = _read_lines(folder / METRICS, note)
    records = sorted((r for r in logged if isinstance(r.get("step"), int)), key=lambda r: r["step"])
    if len(records) < len(logged):
        note(f"{folder / METRICS}: {len(logged) - len(records)} records without a step left out")
    if not records:
        note(f"{folder}: left out, nothing is logged in {METRICS} yet")
        return None
    config = _config(PretrainConfig, settings["pretrain"], folder, note)
    if config.init_from:
        note(f"{folder}: started from the weights of {config.init_from}; what those cost is not in this run's counts")
    return PretrainRun(
        folder=folder,
        name=folder.name,
        config=config,
        shape=_config(EncoderConfig, settings["encoder"], folder, note),
        settings=settings,
        provenance=read_json(folder / "provenance.json"),
        training=[record for record in records if record.get("split") != HELD_OUT],
        evaluations=[record for record in records if record.get("split") == HELD_OUT],
    )


def _config(config_class: type[Config], saved: Mapping[str, Any], folder: Path, note: Note) -> Config:
    """The settings of a record, which may be of another version of this package; what differs is noted."""
    is_free = {field.name: field.metadata["free"] for field in dataclasses.fields(config_class)}  # type: ignore[arg-type]
    names = {*is_free}
    if missing := sorted(name for name in names - {*saved} if not is_free[name]):  # free ones may change on resume
        note(f"{folder}: {', '.join(missing)} not recorded when this run was made, shown at today's default")
    if unknown := sorted({*saved} - names):
        note(f"{folder}: recorded settings this version does not know: {', '.join(unknown)}")
    return build(config_class, {key: tuple(v) if isinstance(v, list) else v for key, v in saved.items()})


def _run_of(record: Record, runs: Sequence[PretrainRun], note: Note) -> PretrainRun | None:
    """The run whose checkpoint a record says it started from, by the run folder's name at the time."""
    checkpoint, step = Path(record["checkpoint"]), record["checkpoint_step"]
    places = {checkpoint, *checkpoint.parents} - {Path(".")}
    found = [run for run in runs if Path(run.config.run_dir) in places or run.folder in places]
    if len(found) > 1:
        raise FormatError(f"{checkpoint}: expected one run with this run_dir among the inputs, found "
                          f"{', '.join(run.name for run in found)}; report them one at a time")  # fmt: skip
    for run in found:
        for folder in (step_folder(run.folder, step), step_folder(run.folder / MILESTONES, step)):
            manifest = folder / "manifest.json"
            if manifest.exists() and read_json(manifest)["sha256"]["model.pt"] != record["checkpoint_sha256"]:
                note(f"{checkpoint}: results of other weights than {folder} holds now, so not set beside that run")
                return None
        return run
    return None
