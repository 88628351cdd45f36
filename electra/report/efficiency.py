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
    days: dict[object, float] = {run.name: (run.elapsed_days(step) or 0.0) * run.num_devices for run in runs}
    return Spent(experiment, "pre-training", days, {run.device for run in runs})


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
    rows = [
        [f"Mercier: {name}", row["run_cost"].value, f"{row['num_configs'].value} x {row['num_seeds'].value}",
         beside(row["run_cost"].number * row["num_configs"].number * row["num_seeds"].number, row["total"].value)]
        for name, row in table("1").items() if name != "overall"
    ]  # fmt: skip
    rows.append(["Mercier: overall", "–", f"overlap {cost.overlap:.2f}", beside(cost.total, overall["total"].value)])
    rows.append(
        [
            "Mercier: overall, USD",
            "–",
            f"at {overall['usd_per_hour'].value} an hour",
            f"{cost.usd:.2f} (printed {overall['usd'].value})",
        ]
    )
    mine = spent(inputs)
    rows += [
        [f"ours: {row.experiment}, {row.task} on {', '.join(sorted(row.devices))}",
         f"{row.days / len(row.parts):.5f}", f"{len(row.parts)}", f"{row.days:.5f}"]
        for row in mine
    ]  # fmt: skip
    total = total_days(mine)
    overlap = sum(row.days for row in mine) - total
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
    )  # fmt: skip


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
    row, cost, ours = table("3")[name], efficiency(name), efficiency(MERCIER)
    assert ours is not None
    text = {column: row[column].value if column in row else "" for column in
            ("pfs_days", "per_avg", "times_avg", "per_glue", "times_glue", "device")}  # fmt: skip
    machine = f"{row['days'].value} d on {row['num_devices'].value} {text['device']}" if cost else "not printed"
    by_rule = beside(cost.pfs_days, text["pfs_days"], ".4f") if cost else "not printed"
    flops = f"{pfs_days(row['flops'].number):.4f}" if "flops" in row else "not known"
    cells = [f"{row['parameters'].number / 1e6:.0f}M", machine, by_rule]
    cells += [flops, "not known"]
    for kind, value, unit in (
        ("avg", cost and cost.per_avg, ours.per_avg),
        ("glue", cost and cost.per_glue, ours.per_glue),
    ):
        times = value / unit if value and unit else None
        cells += [beside(value, text[f"per_{kind}"], ".4f"), beside(times, text[f"times_{kind}"])] if value else [
            "not printed", "not printed"]  # fmt: skip
    return [name, *cells]


def _own_row(run: PretrainRun, inputs: Inputs) -> list[str]:
    days, by_rule = hardware(run)
    ours = efficiency(MERCIER)
    assert ours is not None
    parameters = sum(parameter_blocks(run.shape, run.config.generator_size, run.config.objective).values())
    cells = [f"{parameters:,}", NOT_MEASURED if days is None else f"{days:.4f} d on {run.num_devices} {run.device}"]
    cells.append(f"no nominal speed of {run.device} known" if by_rule is None else f"{by_rule:.6f}")
    cells += [f"{pfs_days(flops):.6f}" for flops in run.flops(run.last_step)]
    for name, unit in (("AVG", ours.per_avg), ("GLUE*", ours.per_glue)):
        score = _score(run, name, inputs)
        value = by_rule / score if by_rule is not None and score else None
        cells += [NOT_MEASURED, NOT_MEASURED] if value is None or not unit else [f"{value:.4f}", f"{value / unit:.2f}"]
    return [f"ours: {run.name}, update {run.last_step:,}", *cells]


def table_3(inputs: Inputs) -> str:
    """Efficiency: parameters, hardware, petaflop/s-days by rule and by count, and over the scores."""
    header = ["model", "parameters", "time and hardware", "pfs-days, hardware rule", "pfs-days, the release's count",
              "pfs-days, matrix products", "per AVG", "times", "per GLUE*", "times"]  # fmt: skip
    ours = efficiency(MERCIER)
    assert ours is not None
    honest = ours.pfs_days / mean_of_eight(table("2")[MERCIER]) * 100
    printed_rows = [_printed_row(name) for name in table("3")]
    return printed_and_ours(header, printed_rows, [_own_row(run, inputs) for run in inputs.runs]) + (
        f"\n\nHardware rule: days x devices x nominal 10^12 FLOP/s / 1000 x {UTILIZATION}; the speeds are Mercier's. One "
        f"pfs-day is {PFS_DAY_FLOPS:.2e} FLOP. The release's count takes look-ups as dense products and a backward "
        f"pass as dear as the forward; matrix products takes look-ups as free and the backward pass as two forward "
        f"ones. The printed columns \"per AVG %\" are per unit of AVG (a score as a fraction). \"times\": over "
        f"Mercier's own row. With AVG recomputed that row is {honest:.4f} per AVG. {DIFFERS}: rounding does "
        f"not explain what was printed. No compute was printed for TinyBERT, and teachers are not counted."
    )  # fmt: skip


def block_table(run: PretrainRun | None) -> str:
    """Figure 1 in words: parameters by block of a run's model, or of the small size."""
    config, shape = (run.config, run.shape) if run else (PretrainConfig(), EncoderConfig())
    blocks = parameter_blocks(shape, config.generator_size, config.objective)
    rows = [[block, f"{count:,}"] for block, count in blocks.items()]
    return markdown(["block", "parameters"], [*rows, ["all, shared blocks once", f"{sum(blocks.values()):,}"]])
