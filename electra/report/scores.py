"""Tables of scores: tables 2 and 4, pre-training seeds, controls, ablations. A row is usually one protocol."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from electra.glue.tasks import TASKS
from electra.pretrain.collapse import COLLAPSED_EVALUATIONS
from electra.report.groups import Comparisons, alike, in_order, sweep_protocols
from electra.report.literature import COLUMNS, MERCIER, OFFICIAL, SINGLE_METRICS, Cell, mean_of_eight, table, with_wnli
from electra.report.runs import Inputs, PretrainRun, Protocol
from electra.scores.statistics import Interval, summarize, t_interval
from electra.scores.tables import DIFFERS, NOT_MEASURED, beside, interval, markdown, printed_and_ours, spread

TITLES = [f"{TASKS[task].title} ({SINGLE_METRICS[task].replace('_', ' ')})" for task in COLUMNS]


def score_cells(protocol: Protocol) -> list[str]:
    """Return the cells of one protocol: the eight tasks, AVG and GLUE*."""
    summary = protocol.summary
    cells = []
    for task in COLUMNS:
        found = summary["tasks"].get(task)
        cell = spread(found and found["metrics"].get(SINGLE_METRICS[task]))
        cells.append(cell + (f", {len(found['failed_seeds'])} failed" if found and found["failed_seeds"] else ""))
    return [*cells, *(spread(summary["averages"][name]) for name in ("AVG", "GLUE*"))]


def printed_scores(row: Mapping[str, Cell]) -> list[str]:
    """Return a published row as cells, like `score_cells`: recomputed AVG and GLUE*, the published ones in brackets."""
    marks = ["†" * row[task].metric.startswith("mean of") for task in COLUMNS]
    cells = [
        f"{row[task].value}{f' ± {row[task].sd}' if row[task].sd else ''}{mark}"
        for task, mark in zip(COLUMNS, marks, strict=True)
    ]
    printed = [row[name].value if name in row else "" for name in ("AVG", "GLUE*")]
    return [*cells, beside(mean_of_eight(row), printed[0]) + max(marks), beside(with_wnli(row), printed[1])]


def table_2(inputs: Inputs) -> str:
    """Return table 2, scores on GLUE's dev files: the published rows, then a row for each of our protocols."""
    header = ["model", *TITLES, "AVG", "GLUE*"]
    printed_rows = [[name, *printed_scores(row)] for name, row in table("2").items()]
    protocols = [p for p in in_order(inputs.protocols) if p.summary["tasks"].keys() & {*TASKS}]
    ours = [[f"ours: {protocol.name}", *score_cells(protocol)] for protocol in protocols]
    last, original = table("2")[MERCIER], table("2")[OFFICIAL]
    printed = original["AVG"].number - last["AVG"].number
    gap = mean_of_eight(original) - mean_of_eight(last)
    return printed_and_ours(header, printed_rows, ours) + (
        f"\n\nAVG of a printed row is the mean of its eight columns, GLUE* is (8 AVG + 56.34) / 9. The printed value "
        f"is in brackets, with {DIFFERS} where rounding does not explain it. † is a mean of two metrics and does not "
        f"compare. Mercier's AVG uses MRPC's F1, the column shows its accuracy: at 100 % AVG is "
        f"{mean_of_eight(last):.1f}, not {last['AVG'].value}, and the gap to the original {gap:.1f}, not {printed:.1f}."
        f" Mercier: 5 seeds, MNLI matched and mismatched pooled. Original: medians of many seeds. Rows before 100 % "
        f"are snapshots whose learning rate had not come down to 0."
    )


def wnli_table(inputs: Inputs) -> str:
    """Return a WNLI table: the model's accuracy, GLUE with this accuracy, and GLUE* with the majority's accuracy."""
    rows = []
    for protocol in in_order(inputs.protocols):
        summary = protocol.summary
        if found := summary["tasks"].get("wnli"):
            averages = [spread(summary["averages"][name]) for name in ("GLUE", "GLUE*")]
            rows.append([f"ours: {protocol.name}", spread(found["metrics"].get("accuracy")), *averages])
    header = ["ninth task", "WNLI (accuracy; majority 56.34)", "GLUE, own WNLI", "GLUE*, WNLI at 56.34"]
    return markdown(header, rows or [["ours", *[NOT_MEASURED] * 3]])


def own_tasks_table(inputs: Inputs) -> str:
    """Return a table of main metrics of tasks outside GLUE, a row for each protocol and task; "" if there is none."""
    rows = [
        [f"ours: {protocol.name}", task, result["main_metric"], spread(result["metrics"].get(result["main_metric"]))]
        for protocol in in_order(inputs.protocols)
        for task, result in protocol.summary["tasks"].items()
        if task not in TASKS
    ]
    return "\n\n" + markdown(["own tasks", "task", "main metric", "score"], rows) if rows else ""


def collapse(run: PretrainRun) -> str:
    """Return a text that says whether and at which update a run's discriminator collapsed."""
    if run.collapse_step is not None:
        return f"collapsed, declared at update {run.collapse_step:,}"
    judged = [record for record in run.evaluations if record.get("disc_auc_high") is not None]
    after = [record for record in judged if record["step"] > run.config.num_warmup_steps]
    if len(after) < COLLAPSED_EVALUATIONS:
        return f"{NOT_MEASURED}: {len(after)} evaluations after warm-up"
    return f"no collapse in {len(after)} evaluations to {after[-1]['step']:,}"


def table_4(sweep: Sequence[PretrainRun], inputs: Inputs) -> str:
    """Return table 4, generator sizes: Mercier's rows, then a row for each of our runs and protocols."""
    header = ["generator size", "updates", "discriminator", *TITLES, "AVG", "GLUE*"]
    printed_rows, ours = [], []
    for size, row in table("4").items():
        declared = row.get("collapse_step")
        scores = [NOT_MEASURED] * 10 if declared else printed_scores(row)
        state = f"collapsed at update {declared.number:,.0f}" if declared else "no collapse"
        printed_rows.append([f"Mercier, {100 * float(size):g} %", "250,000", state, *scores])
    step, protocols = sweep_protocols(sweep, inputs)
    for run in sweep:
        name = f"ours, {100 * run.config.generator_size:g} %: {run.name}, seed {run.config.seed}"
        mine = [protocol for protocol in protocols if protocol.run is run]
        ours += [[f"{name}, {p.protocol}", f"{step:,}", collapse(run), *score_cells(p)] for p in mine]
        if not mine:
            where = "" if step in (None, run.last_step) else f" at {step:,}"
            ours.append([name, f"{run.last_step:,}, not fine-tuned{where}", collapse(run), *[NOT_MEASURED] * 10])
    return printed_and_ours(header, printed_rows, ours)


def pretraining_seeds(inputs: Inputs) -> str:
    """Return a table of the spread of scores over pre-training seeds, beside their spread over fine-tuning seeds."""
    groups = [sweep_protocols(runs, inputs)[1] for runs in alike(inputs.runs, "seed")]
    groups = [[p for p in group if p.protocol == group[0].protocol] for group in groups]
    tasks = [task for task in TASKS if any(_scores_of_runs(group, task) for group in groups)]
    rows = [
        [
            f"{', '.join(p.run.name for p in group if p.run)}, update {group[0].step:,}; {group[0].protocol}",
            *(_spread_of_runs(_scores_of_runs(group, task)) for task in tasks),
        ]
        for group in groups
        if len({p.run.config.seed for p in group if p.run}) == len(group) > 1
    ]
    if not rows:
        return f"Pre-training seeds: {NOT_MEASURED}."
    return markdown(["runs of one setting", *map(_task_title, tasks)], rows) + (
        "\n\nMean ± deviation over pre-training seeds (their number) of the mean over fine-tuning seeds, beside the "
        "deviation that fine-tuning alone would give these means; p is of the F test that all runs are equally good."
    )


def _scores_of_runs(group: Sequence[Protocol], task: str) -> list[list[float]]:
    """Return the scores of a task for each run with two fine-tuning seeds or more; empty if fewer than two runs."""
    found = [[*p.scores(task).values()] for p in group if p.files(task) == group[0].files(task)]
    scores = [run for run in found if len(run) > 1]
    return scores if len(scores) > 1 else []


def _spread_of_runs(scores: Sequence[Sequence[float]]) -> str:
    """Return a cell: mean and deviation over the runs' means, the deviation from fine-tuning seeds alone, F-test p."""
    from scipy import stats

    if not scores:
        return NOT_MEASURED
    means = [float(np.mean(run)) for run in scores]
    alone = float(np.sqrt(np.mean([np.var(run, ddof=1) / len(run) for run in scores])))
    p_value = f", p {stats.f_oneway(*scores).pvalue:.2g}" if alone else ""
    return f"{spread(summarize(means)._asdict())}; ± {100 * alone:.2f} from fine-tuning alone{p_value}"


def _task_title(task: str) -> str:
    return f"{TASKS[task].title} ({TASKS[task].main_metric})" if task in TASKS else f"{task} task"


def paired(first: Protocol, second: Protocol, *tasks: str) -> Interval | None:
    """Return the mean and interval of `second` minus `first` over common seeds; a score is the mean over `tasks`.

    A common seed has a score for every task in both. None if there is no such seed, or the data files differ.
    """
    if any(first.files(task) != second.files(task) for task in tasks):
        return None
    sides = [[protocol.scores(task) for task in tasks] for protocol in (first, second)]
    seeds = set.intersection(*({*scores} for side in sides for scores in side))
    gains = [float(np.mean([new[s] - old[s] for old, new in zip(*sides, strict=True)])) for s in sorted(seeds)]
    return t_interval(gains) if gains else None


def comparison_tables(kind: str, title: str, comparisons: Comparisons) -> str:
    """Return a table for each base protocol: how far others differ from it, in points, on each task and data shared.

    The last column is the mean over the tasks, if there are several tasks and every protocol has all of them.
    """
    parts = []
    for base, others in comparisons:
        known = [*TASKS, *(task for task in base.summary["tasks"] if task not in TASKS)]
        others = [(name, other) for name, other in others if any(paired(base, other, task) for task in known)]
        tasks = [task for task in known if any(paired(base, other, task) for _, other in others)]
        header = [title, *map(_task_title, tasks)]
        rows = [[name, *(interval(paired(base, other, task)) for task in tasks)] for name, other in others]
        if len(tasks) > 1 and not any(NOT_MEASURED in row for row in rows):
            header.append("mean")
            rows = [[*row, interval(paired(base, p, *tasks))] for row, (_, p) in zip(rows, others, strict=True)]
        parts += [f"Base: {base.name}.\n\n{markdown(header, rows)}"] * bool(tasks)
    return "\n\n".join(parts) or f"{kind}: {NOT_MEASURED}."
