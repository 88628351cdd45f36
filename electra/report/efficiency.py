"""Tables of cost: table 1 (device-days), table 3 (efficiency), and the number of parameters for figure 1."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from electra.config import EncoderConfig, PretrainConfig
from electra.model.flops import PFS_DAY_FLOPS, UTILIZATION, device_tflops, hardware_pfs_days, parameter_blocks, pfs_days
from electra.report.groups import reproductions, sweep_protocols, sweeps, without_variants
from electra.report.literature import MERCIER, efficiency, mean_of_eight, printed_days, table
from electra.report.runs import Inputs, PretrainRun, Protocol
from electra.scores.statistics import summarize
from electra.scores.tables import NOT_MEASURED, beside, markdown, printed_and_ours


class Spent(NamedTuple):
    """The device-days that one row of table 1 adds up."""

    title: str
    days: dict[object, float]  # {run's name or protocol: device-days}; the keys show what rows share
    devices: set[str]


def _pretraining(experiment: str, runs: Sequence[PretrainRun], step: int | None = None) -> Spent:
    clocks = [(run, run.elapsed_days(step)) for run in runs]
    days: dict[object, float] = {run.name: clock * run.num_devices for run, clock in clocks if clock is not None}
    return Spent(f"{experiment}, pre-training", days, {run.device for run in runs if run.name in days})


def _finetuning(experiment: str, protocols: Sequence[Protocol]) -> Spent:
    devices = {str(record["provenance"]["device"]) for protocol in protocols for record in protocol.records}
    return Spent(f"{experiment}, fine-tuning", {p: p.days for p in protocols}, devices)


def spent(inputs: Inputs) -> list[Spent]:
    """Return the device-days of each experiment. A run that two experiments use is in both."""
    ours = reproductions(inputs)
    first = [p for p in without_variants(inputs) if p.run in ours and not p.facts["from_scratch"]]
    rows = [_pretraining("reproduction (4.1)", ours), _finetuning("reproduction (4.1)", first)]
    for sweep in sweeps(inputs.runs):
        step, protocols = sweep_protocols(sweep, inputs)
        rows += [_pretraining("generator size (4.2)", sweep, step), _finetuning("generator size (4.2)", protocols)]
    counted = {part for row in rows for part in row.days}
    rows.append(_pretraining("controls", [run for run in inputs.runs if run.name not in counted]))
    rows.append(_finetuning("controls and ablations", [p for p in inputs.protocols if p not in counted]))
    return [row for row in rows if row.days]


def total_days(rows: Sequence[Spent]) -> float:
    """Return the device-days of all rows together. A run in several rows counts once, with its most days."""
    days: dict[object, float] = {}
    for row in rows:
        days |= {part: max(value, days.get(part, 0.0)) for part, value in row.days.items()}
    return sum(days.values())


def table_1(inputs: Inputs) -> str:
    """Return table 1, device-days of each experiment: Mercier's numbers, as printed and recomputed, and ours."""
    overall, (sum_of_rows, overlap) = table("1")["overall"], printed_days()
    rate, days = overall["usd_per_hour"].number, sum_of_rows - overlap
    rows = []
    for name, row in table("1").items():
        if name != "overall":
            configs, seeds = row["num_configs"], row["num_seeds"]
            product = row["run_cost"].number * configs.number * seeds.number
            cells = [row["run_cost"].value, f"{configs.value} x {seeds.value}", beside(product, row["total"].value)]
            rows.append([f"Mercier: {name}", *cells])
    rows.append(["Mercier: overall", "–", f"overlap {overlap:.2f}", beside(days, overall["total"].value)])
    dollars = f"{days * 24 * rate:.2f} (printed {overall['usd'].value})"
    rows.append(["Mercier: overall, USD", "–", f"at {overall['usd_per_hour'].value} an hour", dollars])
    mine = spent(inputs)
    for title, parts, devices in mine:
        row_days = sum(parts.values())
        numbers = [f"{row_days / len(parts):.5f}", f"{len(parts)}", f"{row_days:.5f}"]
        rows.append([f"ours: {title} on {', '.join(sorted(devices))}", *numbers])
    total = total_days(mine)
    shared = sum(sum(row.days.values()) for row in mine) - total
    rows.append(["ours: overall", "–", f"overlap {shared:.5f}", f"{total:.5f}" if mine else NOT_MEASURED])
    return markdown(["experiment", "device-days a run", "runs", "device-days"], rows) + (
        f"\n\nPre-training counts the run's clock (`elapsed_seconds`) times its devices; in experiment 4.2 only up to "
        f"the update at which the sizes are compared. Fine-tuning counts `train_seconds` and `evaluate_seconds`; a run "
        f"is one protocol with all its tasks and seeds. The overlap is counted once; Mercier's is the 25 % generator "
        f"up to 250,000 updates. Mercier's printed dollars are {days:.2f} GPU-days; the printed "
        f"{overall['total'].value} GPU-days would cost ${overall['total'].number * 24 * rate:.2f}. Mercier's text says "
        f"3.75 days a run, not 5."
    )


def _score(run: PretrainRun, average: str, inputs: Inputs) -> float | None:
    """Return a run's last AVG or GLUE*, a fraction, the mean over seeds; None if settings differ from the recipe."""
    for protocol in inputs.protocols:
        facts = protocol.facts
        values = [*protocol.summary["averages"][average]["by_seed"].values()]
        is_changed = facts["overrides"] or facts["from_scratch"]
        if values and protocol.run is run and protocol.step == run.last_step and not is_changed:
            return summarize(values).mean
    return None


def _printed_row(name: str) -> list[str]:
    row = table("3")[name]
    cost, per = efficiency(name) if "days" in row else (0.0, {})
    printed = {column: cell.value for column, cell in row.items()}
    cells = [name, f"{row['parameters'].number / 1e6:.0f}M", "not printed", "not printed"]
    if cost:
        cells[2] = f"{printed['days']} d on {printed['num_devices']} {printed['device']}"
        cells[3] = beside(cost, printed["pfs_days"], ".4f")
    cells += [f"{pfs_days(row['flops'].number):.4f}" if "flops" in row else "not known", "not known"]
    for average, column in (("AVG", "avg"), ("GLUE*", "glue")):
        if average in per:
            times = per[average] / efficiency(MERCIER)[1][average]
            cells.append(beside(per[average], printed.get(f"per_{column}", ""), ".4f"))
            cells.append(beside(times, printed.get(f"times_{column}", "")))
        else:
            cells += ["not printed", "not printed"]
    return cells


def _own_row(run: PretrainRun, inputs: Inputs) -> list[str]:
    days, tflops, cost = run.elapsed_days(), device_tflops(run.device), None
    parameters = sum(parameter_blocks(run.shape, run.config.generator_size, run.config.objective).values())
    cells = [f"ours: {run.name}, update {run.last_step:,}", f"{parameters:,}"]
    cells.append(NOT_MEASURED if days is None else f"{days:.4f} d on {run.num_devices} {run.device}")
    if days is None or tflops is None:
        cells.append(f"no nominal speed of {run.device} known" if tflops is None else NOT_MEASURED)
    else:
        cost = hardware_pfs_days(days, run.num_devices, tflops)
        cells.append(f"{cost:.6f}")
    cells += [f"{pfs_days(flops):.6f}" for flops in run.flops(run.last_step)]
    for average, unit in efficiency(MERCIER)[1].items():
        score = _score(run, average, inputs)
        cells += [f"{cost / score:.4f}", f"{cost / score / unit:.2f}"] if cost and score else [NOT_MEASURED] * 2
    return cells


def table_3(inputs: Inputs) -> str:
    """Return table 3: parameters, hardware, pfs-days by Mercier's rule and by FLOPs, and pfs-days divided by scores."""
    header = ["model", "parameters", "time and hardware", "pfs-days, hardware rule", "pfs-days, the release's count"]
    header += ["pfs-days, matrix products", "per AVG", "times", "per GLUE*", "times"]
    recomputed = 100 * efficiency(MERCIER)[0] / mean_of_eight(table("2")[MERCIER])
    printed_rows = [_printed_row(name) for name in table("3")]
    return printed_and_ours(header, printed_rows, [_own_row(run, inputs) for run in inputs.runs]) + (
        f"\n\nHardware rule: days x devices x nominal 10^12 FLOP/s / 1000 x {UTILIZATION}. One pfs-day is "
        f"{PFS_DAY_FLOPS:.2e} FLOP. The release counts look-ups as dense products and a backward pass as one forward; "
        f"matrix products counts look-ups as free and a backward pass as two forwards. A score is a fraction; times is "
        f"relative to Mercier's own row, {recomputed:.4f} per AVG with AVG recomputed. Teachers are not counted."
    )


def block_table(config: PretrainConfig, shape: EncoderConfig) -> str:
    """Return a table with the number of parameters of each block of a model."""
    blocks = parameter_blocks(shape, config.generator_size, config.objective)
    blocks["all, shared blocks once"] = sum(blocks.values())
    return markdown(["block", "parameters"], [[block, f"{count:,}"] for block, count in blocks.items()])
