"""Tables of cost: table 1 from the runs' own clocks, table 3 by hardware and by count, figure 1's parameters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from electra.config import EncoderConfig, PretrainConfig
from electra.model.flops import PFS_DAY_FLOPS, UTILIZATION, device_tflops, hardware_pfs_days, parameter_blocks, pfs_days
from electra.report.literature import MERCIER, efficiency, mean_of_eight, printed_cost, table, usd
from electra.report.runs import Inputs, PretrainRun, Protocol
from electra.report.scores import reproductions, sweep_protocols, sweeps, without_variants
from electra.scores.statistics import summarize
from electra.scores.tables import DIFFERS, NOT_MEASURED, beside, markdown, printed_and_ours


class Spent(NamedTuple):
    """What one row of table 1 took."""

    experiment: str
    task: str
    parts: dict[object, float]  # device-days of each run or protocol, by itself, so that an overlap shows
    devices: set[str]

    @property
    def days(self) -> float:
        """Device-days of the row."""
        return sum(self.parts.values())


def _pretraining(experiment: str, runs: Sequence[PretrainRun], step: int | None) -> Spent:
    clocks = [(run, run.elapsed_days(step)) for run in runs]
    days: dict[object, float] = {run.name: clock * run.num_devices for run, clock in clocks if clock is not None}
    return Spent(experiment, "pre-training", days, {run.device for run in runs if run.name in days})


def _finetuning(experiment: str, protocols: Sequence[Protocol]) -> Spent:
    devices = {str(record["provenance"]["device"]) for protocol in protocols for record in protocol.records}
    return Spent(experiment, "fine-tuning", {p: p.days for p in protocols}, devices)


def spent(inputs: Inputs) -> list[Spent]:
    """Device-days of each experiment; a run that two experiments use stands in both."""
    found = sweeps(inputs.runs)
    ours = reproductions(inputs)
    first = [p for p in without_variants(inputs) if p.run in ours and not p.facts["from_scratch"]]
    rows = [_pretraining("reproduction (4.1)", ours, None), _finetuning("reproduction (4.1)", first)]
    for sweep in found:
        step, protocols = sweep_protocols(sweep, inputs)
        rows += [_pretraining("generator size (4.2)", sweep, step), _finetuning("generator size (4.2)", protocols)]
    counted = {part for row in rows for part in row.parts}
    rows.append(_pretraining("controls", [run for run in inputs.runs if run.name not in counted], None))
    others = [p for p in inputs.protocols if p not in counted]
    rows.append(_finetuning("controls and ablations", others))
    return [row for row in rows if row.parts]


def total_days(rows: Sequence[Spent]) -> float:
    """Device-days of all experiments, a run that stands in several counted once, at its longest."""
    days: dict[object, float] = {}
    for row in rows:
        for part, value in row.parts.items():
            days[part] = max(value, days.get(part, 0.0))
    return sum(days.values())


def table_1(inputs: Inputs, usd_per_hour: float) -> str:
    """Device-days of each experiment, printed and ours, with what the printed arithmetic comes to."""
    overall, cost = table("1")["overall"], printed_cost()
    rows = []
    for name, row in table("1").items():
        if name != "overall":
            configs, seeds = row["num_configs"], row["num_seeds"]
            days = row["run_cost"].number * configs.number * seeds.number
            cells = [row["run_cost"].value, f"{configs.value} x {seeds.value}", beside(days, row["total"].value)]
            rows.append([f"Mercier: {name}", *cells])
    rows.append(["Mercier: overall", "–", f"overlap {cost.overlap:.2f}", beside(cost.total, overall["total"].value)])
    dollars = f"{cost.usd:.2f} (printed {overall['usd'].value})"
    rows.append(["Mercier: overall, USD", "–", f"at {overall['usd_per_hour'].value} an hour", dollars])
    mine = spent(inputs)
    for spend in mine:
        name = f"ours: {spend.experiment}, {spend.task} on {', '.join(sorted(spend.devices))}"
        num_parts = len(spend.parts)
        rows.append([name, f"{spend.days / num_parts:.5f}", f"{num_parts}", f"{spend.days:.5f}"])
    total = total_days(mine)
    overlap = sum(spend.days for spend in mine) - total
    rows.append(["ours: overall", "–", f"overlap {overlap:.5f}", f"{total:.5f}" if mine else NOT_MEASURED])
    dollars = f"{usd(total, usd_per_hour):.2f}" if mine else NOT_MEASURED
    rows.append(["ours: overall, USD", "–", f"at {usd_per_hour:g} an hour", dollars])
    printed = usd(float(overall["total"].value), overall["usd_per_hour"].number)
    return markdown(["experiment", "device-days a run", "runs", "device-days"], rows) + (
        f"\n\nRule: pre-training counts a run's own clock (`elapsed_seconds`, evaluations and saving included) times "
        f"its devices; in experiment 4.2 up to the update its sizes are compared at. Fine-tuning counts "
        f"`train_seconds` and `evaluate_seconds`, a run being one protocol with all its tasks and seeds. What both "
        f"experiments use is counted once in the total. Days on different devices are added as they are. "
        f"Mercier's rows add up to {cost.sum_of_rows:.1f}; without the overlap "
        f"({cost.overlap:.2f}: the 25 % generator up to 250,000 updates) that is {cost.total:.2f} GPU-days = "
        f"${cost.usd:.2f}, the dollars it prints; the {overall['total'].value} GPU-days it prints would be "
        f"${printed:.2f}. Its text says 3.75 days a run, not 5."
    )


def hardware(run: PretrainRun) -> tuple[float | None, float | None]:
    """Days of a run, and its petaflop/s-days by the hardware rule; None where unknown."""
    days, tflops = run.elapsed_days(), device_tflops(run.device)
    return days, None if days is None or tflops is None else hardware_pfs_days(days, run.num_devices, tflops)


def _score(run: PretrainRun, name: str, inputs: Inputs) -> float | None:
    """The mean of AVG or GLUE* at a run's last update under the recipe as it stands, as a fraction."""
    for protocol in inputs.protocols:
        if protocol.run is run and protocol.step == run.last_step and not protocol.facts["overrides"]:
            values = [*protocol.summary["averages"][name]["by_seed"].values()]
            if values and not protocol.facts["from_scratch"]:
                return summarize(values).mean
    return None


def _printed_row(name: str) -> list[str]:
    row, found = table("3")[name], efficiency(name) if "days" in table("3")[name] else None
    printed = {column: cell.value for column, cell in row.items()}
    cells = [name, f"{row['parameters'].number / 1e6:.0f}M", "not printed", "not printed"]
    if found:
        cells[2] = f"{printed['days']} d on {printed['num_devices']} {printed['device']}"
        cells[3] = beside(found.pfs_days, printed["pfs_days"], ".4f")
    cells += [f"{pfs_days(row['flops'].number):.4f}" if "flops" in row else "not known", "not known"]
    for average, column in (("AVG", "avg"), ("GLUE*", "glue")):
        if found and average in found.per:
            times = found.per[average] / efficiency(MERCIER).per[average]
            cells.append(beside(found.per[average], printed.get(f"per_{column}", ""), ".4f"))
            cells.append(beside(times, printed.get(f"times_{column}", "")))
        else:
            cells += ["not printed", "not printed"]
    return cells


def _own_row(run: PretrainRun, inputs: Inputs) -> list[str]:
    days, by_rule = hardware(run)
    parameters = sum(parameter_blocks(run.shape, run.config.generator_size, run.config.objective).values())
    cells = [f"{parameters:,}", NOT_MEASURED if days is None else f"{days:.4f} d on {run.num_devices} {run.device}"]
    cells.append(f"no nominal speed of {run.device} known" if by_rule is None else f"{by_rule:.6f}")
    cells += [f"{pfs_days(flops):.6f}" for flops in run.flops(run.last_step)]
    for average, unit in efficiency(MERCIER).per.items():
        score = _score(run, average, inputs)
        cells += (
            [f"{by_rule / score:.4f}", f"{by_rule / score / unit:.2f}"] if by_rule and score else [NOT_MEASURED] * 2
        )
    return [f"ours: {run.name}, update {run.last_step:,}", *cells]


def table_3(inputs: Inputs) -> str:
    """Efficiency: parameters, hardware, petaflop/s-days by rule and by count, and over the scores."""
    header = ["model", "parameters", "time and hardware", "pfs-days, hardware rule", "pfs-days, the release's count"]
    header += ["pfs-days, matrix products", "per AVG", "times", "per GLUE*", "times"]
    honest = 100 * efficiency(MERCIER).pfs_days / mean_of_eight(table("2")[MERCIER])
    printed_rows = [_printed_row(name) for name in table("3")]
    return printed_and_ours(header, printed_rows, [_own_row(run, inputs) for run in inputs.runs]) + (
        f"\n\nHardware rule: days x devices x nominal 10^12 FLOP/s / 1000 x {UTILIZATION}; Mercier's speeds. One "
        f"pfs-day is {PFS_DAY_FLOPS:.2e} FLOP. The release's count takes look-ups as dense products and a backward "
        f"pass as dear as the forward; matrix products takes look-ups as free and the backward pass as two forward "
        f'ones. The printed columns "per AVG %" are per unit of AVG (a score as a fraction). "times": over '
        f"Mercier's own row. With AVG recomputed that row is {honest:.4f} per AVG. {DIFFERS}: rounding does "
        f"not explain what was printed. No compute was printed for TinyBERT, and teachers are not counted."
    )


def block_table(run: PretrainRun | None) -> str:
    """Figure 1 in words: parameters by block of a run's model, or of the small size."""
    config, shape = (run.config, run.shape) if run else (PretrainConfig(), EncoderConfig())
    blocks = parameter_blocks(shape, config.generator_size, config.objective)
    rows = [[block, f"{count:,}"] for block, count in blocks.items()]
    return markdown(["block", "parameters"], [*rows, ["all, shared blocks once", f"{sum(blocks.values()):,}"]])
