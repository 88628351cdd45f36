"""What the inputs say of each claim: the comparison that decides it, with its interval, and the verdict."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from electra.report.literature import (OFFICIAL, efficiency, has_single_metrics, mean_of_eight, official_curve, table, with_wnli)
from electra.scores.metrics import WNLI_MAJORITY
from electra.report.runs import (Inputs, PretrainRun, Protocol)
from electra.report.efficiency import hardware
from electra.report.scores import (ablations, controls, paired_mean, sweeps)
from electra.scores.statistics import (Interval, t_interval)
from electra.scores.tables import (NOT_MEASURED, differs, interval)

SUPPORTED, NOT_SUPPORTED = "supported", "not supported"
MARGIN = 0.01
"""Two pre-trainings of one recipe differ by up to about a point of AVG: less is no difference."""
CURVE_TOLERANCE = 0.10
"""Largest relative distance from the official curve that still counts as similar."""


class Finding(NamedTuple):
    """What the inputs say of a claim."""

    ours: str
    verdict: str


NOTHING = Finding(NOT_MEASURED, NOT_MEASURED)


def _is_inside(found: Interval) -> bool:
    """Whether a whole interval is within the margin of no difference."""
    return found.low is not None and found.high is not None and max(-found.low, found.high) < MARGIN


def _verdict(is_supported: bool) -> str:
    return SUPPORTED if is_supported else NOT_SUPPORTED


def _at(protocol: Protocol) -> str:
    """The scale of what was fine-tuned, as an apposition."""
    return f" at {protocol.run.scale(protocol.step)}" if protocol.run else ""


def final_protocol(inputs: Inputs) -> Protocol | None:
    """The fine-tuning of a full-length run's last update under a recipe as it stands; recipe `mercier` first."""
    found = [
        protocol
        for protocol in inputs.protocols
        if protocol.run and protocol.run.is_full_length and protocol.step == protocol.run.config.num_train_steps
        and not protocol.facts["overrides"] and not protocol.facts["from_scratch"]
        and protocol.run.config.generator_size == 0.25 and not protocol.facts["init_from_mnli"]
    ]  # fmt: skip
    return min(found, key=lambda protocol: (protocol.facts["recipe"] != "mercier", protocol.name), default=None)


def against(inputs: Inputs, average: str, value: float) -> Interval | None:
    """The full-length run's average minus a printed one in points, over fine-tuning seeds."""
    protocol = final_protocol(inputs)
    scores = [*protocol.summary["averages"][average]["by_seed"].values()] if protocol else []
    return t_interval([score - value / 100 for score in scores]) if scores else None


def better_than(average: str, value: float) -> Callable[[Inputs], Finding]:
    """R14: an average above a printed one in points, over fine-tuning seeds."""

    def find(inputs: Inputs) -> Finding:
        found = against(inputs, average, value)
        if found is None or found.low is None:
            return NOTHING
        return Finding(interval(found), _verdict(found.low > 0))

    return find


def _table_5_runs(inputs: Inputs) -> list[PretrainRun]:
    """Runs whose updates cost what the report's cost, however many they are."""
    return [
        run for run in inputs.runs
        if (run.config.batch_size, run.config.seq_length, run.config.generator_size) == (128, 128, 0.25)
        and (run.shape.num_layers, run.shape.hidden_size, run.config.objective) == (12, 256, "rtd")
    ]  # fmt: skip


def find_memory(inputs: Inputs) -> Finding:
    """R10: peak memory on CUDA at 128 and at 64 rows against 16 and 11 GB."""
    peaks: dict[int, int] = {}
    for run in _table_5_runs(inputs):
        rows = run.config.micro_batch_size or run.config.batch_size // run.num_devices
        if run.provenance.get("device_type") == "cuda" and run.peak_memory_bytes is not None:
            peaks[rows] = max(run.peak_memory_bytes, peaks.get(rows, 0))
    text = ", ".join(f"{peak / 1e9:.1f} GB at {rows} rows" for rows, peak in sorted(peaks.items()))
    if not {64, 128} <= {*peaks}:
        return Finding(text or NOT_MEASURED, NOT_MEASURED)
    return Finding(text, _verdict(peaks[128] <= 16e9 and peaks[64] <= 11e9))


def find_days(inputs: Inputs) -> Finding:
    """R10: days for a million updates at the measured speed, on the devices that the report names."""
    texts, verdicts = [], []
    for run in _table_5_runs(inputs):
        speeds = [r["tokens_per_second"] for r in run.training if r.get("tokens_per_second")]
        if not speeds:
            continue
        low, middle, high = 1e6 * 128 * 128 / 86_400 / np.quantile(speeds, [0.975, 0.5, 0.025])
        device = str(run.provenance.get("device"))
        texts.append(f"{middle:.2f} d [{low:.2f}, {high:.2f}] on {run.num_devices} {device}")
        printed = [c["days"].number for name, c in table("3.5").items() if "days" in c and name in device]
        verdicts += [high <= printed[0]] if printed and run.num_devices == 1 else []
    return Finding("; ".join(texts) or NOT_MEASURED, _verdict(all(verdicts)) if verdicts else NOT_MEASURED)


def find_preprocessing(inputs: Inputs) -> Finding:
    """R11: the vocabulary is known from the runs, the hours are not recorded."""
    sizes = sorted({run.shape.vocab_size for run in inputs.runs})
    if not sizes:
        return NOTHING
    return Finding(f"vocabularies of {', '.join(f'{size:,}' for size in sizes)}; hours not recorded", NOT_MEASURED)


def find_similar(inputs: Inputs) -> Finding:
    """R12: AVG within a point of the official row, over fine-tuning seeds."""
    found = against(inputs, "AVG", mean_of_eight(table("2")[OFFICIAL]))
    if found is None or found.low is None:
        return NOTHING
    return Finding(interval(found), _verdict(_is_inside(found)))


def curve_distances(run: PretrainRun) -> dict[str, float]:
    """{metric: largest relative distance from the official curve} at the steps that both have."""
    evaluations = {record["step"]: record for record in run.held_out()}
    found: dict[str, float] = {}
    curve = official_curve()
    for name, values in curve.items():
        for step, value in zip(curve["step"], values, strict=True):
            ours = evaluations[step].get(name) if step in evaluations else None
            if name != "step" and ours is not None and not np.isnan(value):
                found[name] = max(abs(ours / value - 1), found.get(name, 0.0))
    return found


def find_dynamics(inputs: Inputs) -> Finding:
    """R13: every metric of figure 3 near the official curve, at every step that both have."""
    for run in inputs.runs:
        distances = curve_distances(run) if run.is_full_length and run.config.generator_size == 0.25 else {}
        if distances:
            far = max(distances, key=lambda name: distances[name])
            text = f"largest distance {100 * distances[far]:.1f} % ({far}), {run.name}; one run, no interval"
            return Finding(text, _verdict(distances[far] <= CURVE_TOLERANCE))
    return NOTHING


def find_efficiency(inputs: Inputs) -> Finding:
    """R14: pfs-days by the hardware rule over AVG or GLUE*, below every baseline that has a figure."""
    protocol = final_protocol(inputs)
    cost = hardware(protocol.run)[1] if protocol and protocol.run else None
    if cost is None:
        return NOTHING
    texts, verdicts = [], []
    for name in ("GPT", "BERT-Base", "DistilBERT6"):
        printed = efficiency(name)
        average, unit = (
            ("AVG", printed and printed.per_avg) if name == "GPT" else ("GLUE*", printed and printed.per_glue)
        )
        found = against(inputs, average, 0.0)
        if found is None or found.low is None or not unit or not found.high:
            return NOTHING
        texts.append(
            f"{unit * found.mean / cost:.1f} x [{unit * found.low / cost:.1f}, {unit * found.high / cost:.1f}] {name}"
        )
        verdicts.append(unit * found.low / cost > 1)
    return Finding("cheaper per score: " + ", ".join(texts), _verdict(all(verdicts)))


def find_collapse(inputs: Inputs) -> Finding:
    """R15: collapses among generators of half size or more against smaller ones; two pre-training seeds a size."""
    from scipy import stats

    runs = [run for sweep in sweeps(inputs.runs) for run in sweep]
    watched = [run for run in runs if sum(r["step"] > run.config.num_warmup_steps for r in run.evaluations) >= 3]
    large, small = ([r for r in watched if (r.config.generator_size >= 0.5) is side] for side in (True, False))
    if not large or not small:
        return NOTHING
    counts = [sum(run.collapse_step is not None for run in side) for side in (large, small)]
    low, high = stats.binomtest(counts[0], len(large)).proportion_ci()
    p_value = stats.fisher_exact([[n, len(side) - n] for n, side in zip(counts, (large, small), strict=True)]).pvalue
    text = (f"at {large[0].scale()}: {counts[0]} of {len(large)} collapse at half size or more "
            f"[{low:.2f}, {high:.2f}], {counts[1]} of {len(small)} below; p {p_value:.3f} (Fisher)")  # fmt: skip
    sizes = [run.config.generator_size for run in large]
    if min(map(sizes.count, sizes)) < 2:
        return Finding(f"{text}; fewer than two pre-training seeds a size", NOT_MEASURED)
    return Finding(text, _verdict(p_value < 0.05 and counts[0] / len(large) > counts[1] / len(small)))


def find_robust(inputs: Inputs) -> Finding:
    """R16: the paired effect of pair swap, layer-wise decay and pooling, each within a point."""
    effects = {v.setting: (a.base, v.protocol) for a in ablations(inputs) for v in a.variants}
    wanted = ("pair_swap", "layerwise_lr_top_exponent", "pooling")
    found = {name: paired_mean(*effects[name]) for name in wanted if name in effects}
    text = "; ".join(f"{name} {interval(effect)}{_at(effects[name][0])}" for name, effect in found.items())
    if {*found} != {*wanted}:
        return Finding(text or NOT_MEASURED, NOT_MEASURED)
    return Finding(text, _verdict(all(effect is not None and _is_inside(effect) for effect in found.values())))


def find_meta_score(inputs: Inputs) -> Finding:
    """R17: which formula gives the averages that are printed for others; arithmetic, so there is no interval."""
    rows = [row for name, row in table("2").items()
            if "AVG" in row and has_single_metrics(row) and not name.startswith("report")]  # fmt: skip
    fits = [sum(not differs(row["AVG"].value, formula(row)) for row in rows) for formula in (mean_of_eight, with_wnli)]
    text = f"without WNLI {fits[0]} of {len(rows)} printed averages come out, with it {fits[1]}; exact, no interval"
    return Finding(text, _verdict(fits == [len(rows), 0]))


def find_wnli(inputs: Inputs) -> Finding:
    """R18: dev accuracy on WNLI below what always answering the majority scores, for every model."""
    tried = [p for p in inputs.protocols if p.scores("wnli") and not p.facts["from_scratch"]]
    found = [t_interval([score - WNLI_MAJORITY for score in p.scores("wnli").values()]) for p in tried]
    if not found or any(one.high is None for one in found):
        return NOTHING
    text = "; ".join(f"{interval(one)}{_at(protocol)}" for one, protocol in zip(found, tried, strict=True))
    return Finding(text, _verdict(all(one.high is not None and one.high < 0 for one in found)))


def find_control(inputs: Inputs) -> Finding:
    """R19: the pair against masked LM alone at equal matrix-product FLOPs, on the mean of the tasks both have."""
    texts, verdicts = [], []
    for base, others in controls(inputs):
        for _, other in others:
            if other.facts["from_scratch"] or base.run is None or other.run is None:
                continue
            flops = base.run.flops(base.step)[1] / other.run.flops(other.step)[1]
            gain = paired_mean(other, base)
            texts.append(f"{base.run.name} minus {other.run.name} {interval(gain)} at {flops:.3f} of its FLOPs"
                         f"{_at(base)}")  # fmt: skip
            verdicts.append(gain is not None and gain.low is not None and gain.low > 0)
    return Finding("; ".join(texts), _verdict(all(verdicts))) if texts else NOTHING
