"""Tables of scores: table 2, table 4, ablations and controls; a row is one protocol, never a mean over several."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from itertools import groupby
from operator import attrgetter
from typing import Any, NamedTuple

import numpy as np

from electra.config import PretrainConfig
from electra.glue.tasks import TASKS
from electra.pretrain.collapse import COLLAPSED_EVALUATIONS
from electra.report.literature import (
    COLUMNS,
    MERCIER,
    OFFICIAL,
    SINGLE_METRICS,
    Cell,
    has_single_metrics,
    mean_of_eight,
    table,
    with_wnli,
)
from electra.report.runs import Inputs, PretrainRun, Protocol
from electra.scores.statistics import Interval, summarize, t_interval
from electra.scores.tables import DIFFERS, NOT_MEASURED, beside, interval, markdown, printed_and_ours, spread

SAME_FLOPS = 0.02
"""How far the compute of a control may lie from that of what it controls."""

TITLES = [f"{TASKS[task].title} ({SINGLE_METRICS[task].replace('_', ' ')})" for task in COLUMNS]


def score_cells(protocol: Protocol) -> list[str]:
    """The eight columns, AVG and GLUE* of one protocol."""
    summary = protocol.summary
    cells = []
    for task in COLUMNS:
        found = summary["tasks"].get(task)
        cell = spread(found and found["metrics"].get(SINGLE_METRICS[task]))
        cells.append(cell + (f", {len(found['failed_seeds'])} failed" if found and found["failed_seeds"] else ""))
    return [*cells, *(spread(summary["averages"][name]) for name in ("AVG", "GLUE*"))]


def printed_scores(row: dict[str, Cell]) -> list[str]:
    """The same columns as printed, AVG and GLUE* recomputed beside what was printed."""
    cells = []
    for cell in (row[task] for task in COLUMNS):
        deviation, mark = f" ± {cell.sd}" if cell.sd else "", "†" if cell.metric.startswith("mean of") else ""
        cells.append(f"{cell.value}{deviation}{mark}")
    printed = [row[name].value if name in row else "" for name in ("AVG", "GLUE*")]
    mark = "" if has_single_metrics(row) else "†"
    return [*cells, beside(mean_of_eight(row), printed[0]) + mark, beside(with_wnli(row), printed[1])]


def table_2(inputs: Inputs) -> str:
    """GLUE dev scores: printed rows, the official row, then ours at each checkpoint."""
    header = ["model", *TITLES, "AVG", "GLUE*"]
    printed_rows = [[name, *printed_scores(dict(row))] for name, row in table("2").items()]
    protocols = sorted(outside_sweeps(inputs), key=_order)
    ours = [[f"ours: {protocol.name}", *score_cells(protocol)] for protocol in protocols]
    last, original = table("2")[MERCIER], table("2")[OFFICIAL]
    printed = float(original["AVG"].value) - float(last["AVG"].value)
    gap = mean_of_eight(original) - mean_of_eight(last)
    return printed_and_ours(header, printed_rows, ours) + (
        f"\n\nAVG of printed rows is the mean of their eight columns, GLUE* (8 AVG + 56.34) / 9, the printed value in "
        f"brackets, marked {DIFFERS} where rounding does not explain it. A true GLUE* needs F1 and Pearson, which were "
        f"not printed; ours has them. † averages two metrics and does not compare. Mercier's rows carry MRPC's F1 in "
        f"AVG though the column shows its accuracy: at 100 % AVG is {mean_of_eight(last):.1f}, not "
        f"{last['AVG'].value}, so the gap to the original is {gap:.1f}, not {printed:.1f}. Its rows are mean ± "
        f"deviation of 5 seeds, its snapshots, like ours before 100 %, are not annealed, its MNLI pools matched and "
        f"mismatched; ours is matched. The original's numbers are medians of many seeds."
    )


def wnli_table(inputs: Inputs) -> str:
    """The ninth task: the model's own WNLI, and what it makes of GLUE beside the constant of GLUE*."""
    rows = []
    for protocol in sorted(outside_sweeps(inputs), key=_order):
        summary = protocol.summary
        if found := summary["tasks"].get("wnli"):
            averages = [spread(summary["averages"][name]) for name in ("GLUE", "GLUE*")]
            rows.append([f"ours: {protocol.name}", spread(found["metrics"].get("accuracy")), *averages])
    header = ["ninth task", "WNLI (accuracy; majority 56.34)", "GLUE, own WNLI", "GLUE*, WNLI at 56.34"]
    return markdown(header, rows or [["ours", *[NOT_MEASURED] * 3]])


def own_tasks_table(inputs: Inputs) -> str:
    """Main metric of the tasks that are not GLUE's, one row for each protocol and data set; "" without any."""
    rows = []
    for protocol in sorted(inputs.protocols, key=_order):
        for task, result in protocol.summary["tasks"].items():
            if task not in TASKS:
                metric = result["main_metric"]
                rows.append([f"ours: {protocol.name}", task, metric, spread(result["metrics"].get(metric))])
    return "\n\n" + markdown(["own tasks", "task", "main metric", "score"], rows) if rows else ""


def _order(protocol: Protocol) -> tuple[Any, ...]:
    run = protocol.run
    return (protocol.facts["from_scratch"], run.name if run else protocol.facts["checkpoint"], protocol.step)


def alike(runs: Sequence[PretrainRun], *but: str) -> list[list[PretrainRun]]:
    """Runs of a pair in groups that differ in nothing but the settings named, each in the order of these."""

    def key(run: PretrainRun) -> str:
        names = [f.name for f in dataclasses.fields(run.config) if not f.metadata["free"] and f.name not in but]
        kept = [getattr(run.config, name) for name in names]
        return json.dumps([kept, dataclasses.asdict(run.shape), run.settings["tokenizer"], run.settings["shards"]])

    pairs = sorted((run for run in runs if run.config.objective == "rtd"), key=key)
    order = attrgetter(*(f"config.{name}" for name in but))
    return [sorted(group, key=order) for _, group in groupby(pairs, key)]


def sweeps(runs: Sequence[PretrainRun]) -> list[list[PretrainRun]]:
    """Runs that differ in nothing but generator size and seed, where there are two sizes or more."""
    groups = alike(runs, "generator_size", "seed")
    return [group for group in groups if len({run.config.generator_size for run in group}) > 1]


def other_sizes(inputs: Inputs) -> list[PretrainRun]:
    """A sweep's runs of other generator sizes than table 5's: they belong to the second experiment alone."""
    size = PretrainConfig().generator_size
    return [run for sweep in sweeps(inputs.runs) for run in sweep if run.config.generator_size != size]


def reproductions(inputs: Inputs) -> list[PretrainRun]:
    """The runs of the first experiment, those of Mercier's length first."""
    others = other_sizes(inputs)
    runs = [run for run in inputs.runs if run.config.objective == "rtd" and run not in others]
    return sorted(runs, key=lambda run: (not run.is_full_length, run.name))


def sweep_protocols(sweep: Sequence[PretrainRun], inputs: Inputs) -> tuple[int | None, list[Protocol]]:
    """The fine-tunings to compare: at the update that most runs were fine-tuned at, the later of equals."""
    found = [p for p in without_variants(inputs) if p.run in sweep and not p.facts["from_scratch"]]
    counts = {p.step: len({q.run.name for q in found if q.run and q.step == p.step}) for p in found}
    step = max(counts, key=lambda step: (counts[step], step), default=None)
    return step, [p for p in found if p.step == step]


def collapse(run: PretrainRun) -> str:
    """What the watch says of a run's discriminator."""
    if run.collapse_step is not None:
        return f"collapsed, declared at update {run.collapse_step:,}"
    after = [record for record in run.evaluations if record["step"] > run.config.num_warmup_steps]
    if len(after) < COLLAPSED_EVALUATIONS:
        return f"{NOT_MEASURED}: {len(after)} evaluations after warm-up"
    return f"no collapse in {len(after)} evaluations to {after[-1]['step']:,}"


def table_4(sweep: Sequence[PretrainRun], inputs: Inputs) -> str:
    """Generator sizes: Mercier's rows, then one row for each of our runs and protocols."""
    header = ["generator size", "updates", "discriminator", *TITLES, "AVG", "GLUE*"]
    printed_rows, ours = [], []
    for size, row in table("4").items():
        declared = row.get("collapse_step")
        scores = [NOT_MEASURED] * 10 if declared else printed_scores(dict(row))
        watch = f"collapsed at update {declared.number:,.0f}" if declared else "no collapse"
        printed_rows.append([f"Mercier, {100 * float(size):g} %", "250,000", watch, *scores])
    step, protocols = sweep_protocols(sweep, inputs)
    for run in sweep:
        name = f"ours, {100 * run.config.generator_size:g} %: {run.name}, seed {run.config.seed}"
        mine = [protocol for protocol in protocols if protocol.run is run]
        ours += [[f"{name}, {p.protocol}", f"{step:,}", collapse(run), *score_cells(p)] for p in mine]
        if not mine:
            ours.append([name, f"{run.last_step:,}, not fine-tuned", collapse(run), *[NOT_MEASURED] * 10])
    return printed_and_ours(header, printed_rows, ours)


def pretraining_seeds(inputs: Inputs) -> str:
    """Runs that differ in their seed alone: how far apart they score, and how far fine-tuning alone would put them."""
    groups = [sweep_protocols(runs, inputs)[1] for runs in alike(inputs.runs, "seed")]
    groups = [[p for p in group if p.protocol == group[0].protocol] for group in groups]
    tasks = [task for task in TASKS if any(_scores_of_runs(group, task) for group in groups)]
    rows = []
    for group in (group for group in groups if len(group) > 1):
        names = ", ".join(p.run.name for p in group if p.run)
        spreads = [_spread_of_runs(_scores_of_runs(group, task)) for task in tasks]
        rows.append([f"{names}, update {group[0].step:,}; {group[0].protocol}", *spreads])
    if not rows:
        return f"Pre-training seeds: {NOT_MEASURED}."
    header = ["runs of one setting", *map(_task_title, tasks)]
    return markdown(header, rows) + (
        "\n\nMean ± deviation over pre-training seeds (their number) of the mean over fine-tuning seeds, beside the "
        "deviation that fine-tuning alone would give these means; p is of the F test that all runs are equally good."
    )


def _scores_of_runs(group: Sequence[Protocol], task: str) -> list[list[float]]:
    """A task's scores, one list a pre-training run of two fine-tuning seeds or more; empty with fewer than two runs."""
    found = [p for p in group if p.files(task) == group[0].files(task)]
    scores = [[*p.scores(task).values()] for p in found if len(p.scores(task)) > 1]
    return scores if len(scores) > 1 else []


def _spread_of_runs(scores: Sequence[Sequence[float]]) -> str:
    """Mean and deviation of the runs' means, what equally good runs would have, and the F test of both."""
    from scipy import stats

    if not scores:
        return NOT_MEASURED
    means = [float(np.mean(run)) for run in scores]
    alone = float(np.sqrt(np.mean([np.var(run, ddof=1) / len(run) for run in scores])))
    p_value = f", p {stats.f_oneway(*scores).pvalue:.2g}" if alone else ""
    return f"{spread(summarize(means)._asdict())}; ± {100 * alone:.2f} from fine-tuning alone{p_value}"


def _task_title(task: str) -> str:
    return f"{TASKS[task].title} ({TASKS[task].main_metric})"


def paired(first: Protocol, second: Protocol, task: str) -> Interval | None:
    """Second minus first on a task's main metric, over the seeds both have on the same files; None without any."""
    old, new = first.scores(task), second.scores(task)
    if first.files(task) != second.files(task):
        return None
    gains = [new[seed] - old[seed] for seed in sorted(old.keys() & new.keys())]
    return t_interval(gains) if gains else None


def paired_mean(first: Protocol, second: Protocol) -> Interval | None:
    """Second minus first on the mean over the tasks both have, over the seeds that both have of every such task."""
    tasks = [task for task in TASKS if paired(first, second, task)]
    if not tasks:
        return None
    sides = [[p.scores(task) for task in tasks] for p in (first, second)]
    seeds = set.intersection(*({*scores} for side in sides for scores in side))
    gains = [float(np.mean([new[s] - old[s] for old, new in zip(*sides, strict=True)])) for s in sorted(seeds)]
    return t_interval(gains) if gains else None


class Variant(NamedTuple):
    """A protocol that differs from another in one setting."""

    setting: str
    base_value: Any
    value: Any
    protocol: Protocol


def ablations(inputs: Inputs) -> list[tuple[Protocol, list[Variant]]]:
    """For each checkpoint the protocol with the most neighbours, fewest overrides first, and those neighbours."""
    groups: dict[tuple[Any, ...], list[Protocol]] = {}
    for protocol in inputs.protocols:
        facts = protocol.facts
        start = (facts["checkpoint_sha256"], facts["from_scratch"], facts["init_from_mnli"])
        groups.setdefault(start, []).append(protocol)
    found = []
    for group in groups.values():
        base = min(group, key=lambda p: (-len(_neighbours(p, group)), len(p.facts["overrides"])))
        found.append((base, _neighbours(base, group)))
    return [(base, variants) for base, variants in found if variants]


def _neighbours(base: Protocol, group: Sequence[Protocol]) -> list[Variant]:
    """The protocols of a group that differ from `base` in one setting."""
    found, old = [], base.facts["settings"]
    for protocol in group:
        new = protocol.facts["settings"]
        changed = [name for name in old if name != "recipe" and old[name] != new.get(name)]
        if len(changed) == 1:
            found.append(Variant(changed[0], old[changed[0]], new.get(changed[0]), protocol))
    return sorted(found, key=lambda variant: (variant.setting, str(variant.value)))


def without_variants(inputs: Inputs) -> list[Protocol]:
    """The protocols that are no ablation of another: those that stand in table 2 or 4."""
    variants = {variant.protocol for _, variants in ablations(inputs) for variant in variants}
    return [protocol for protocol in inputs.protocols if protocol not in variants]


def outside_sweeps(inputs: Inputs) -> list[Protocol]:
    """The protocols of table 2: no variant, and no fine-tuning of a run that stands in table 4 alone."""
    others = other_sizes(inputs)
    return [protocol for protocol in without_variants(inputs) if protocol.run not in others]


def comparison_table(title: str, base: Protocol, others: Sequence[tuple[str, Protocol]]) -> str:
    """Differences in points on every task that any of them shares with `base`, paired over seeds.

    And on their mean, where there are several tasks and all were run on all of them.
    """
    tasks = [task for task in TASKS if any(paired(base, other, task) for _, other in others)]
    header = [title, *map(_task_title, tasks)]
    rows = [[name, *(interval(paired(base, other, task)) for task in tasks)] for name, other in others]
    if len(tasks) > 1 and not any(NOT_MEASURED in row for row in rows):
        header.append("mean")
        rows = [[*row, interval(paired_mean(base, other))] for row, (_, other) in zip(rows, others, strict=True)]
    return f"Base: {base.name}.\n\n{markdown(header, rows)}"


def ablation_tables(inputs: Inputs) -> str:
    """One table for each checkpoint with ablations: variant minus base, paired over fine-tuning seeds."""
    parts = []
    for base, variants in ablations(inputs):
        others = [(f"`{v.setting}`: {v.base_value} -> {v.value}", v.protocol) for v in variants]
        parts.append(comparison_table("setting: base -> variant", base, others))
    return "\n\n".join(parts) or f"Ablations: {NOT_MEASURED}."


def _is_control(base: Protocol, other: Protocol) -> bool:
    """Whether two protocols differ only in what the encoder learned before: nothing, or masked LM at equal compute."""
    if base.run is None or other.run is None or other.run.shape != base.run.shape:
        return False
    same_facts = all(base.facts[name] == other.facts[name] for name in ("settings", "precision"))
    same_tokenizer, same_shards = (base.run.settings[k] == other.run.settings[k] for k in ("tokenizer", "shards"))
    if other.facts["from_scratch"]:
        return same_facts and same_tokenizer
    sizes = [(run.config.batch_size, run.config.seq_length) for run in (base.run, other.run)]
    flops, other_flops = base.run.flops(base.step)[1], other.run.flops(other.step)[1]
    same_compute = sizes[0] == sizes[1] and abs(flops - other_flops) <= SAME_FLOPS * other_flops
    is_masked_lm = other.run.config.objective == "mlm"
    return is_masked_lm and same_compute and same_facts and same_tokenizer and same_shards


def controls(inputs: Inputs) -> list[tuple[Protocol, list[tuple[str, Protocol]]]]:
    """Each fine-tuned checkpoint of a pre-trained pair, with its random start and its masked-LM control."""
    found = []
    for base in without_variants(inputs):
        if base.run and not base.facts["from_scratch"] and base.run.config.objective == "rtd":
            others = [(other.name, other) for other in inputs.protocols if _is_control(base, other)]
            found += [(base, others)] if others else []
    return found


def control_tables(inputs: Inputs) -> str:
    """Each control minus the pre-trained discriminator, paired over fine-tuning seeds."""
    parts = [comparison_table("control minus base", base, others) for base, others in controls(inputs)]
    return "\n\n".join(parts) or f"Controls: {NOT_MEASURED}."
