"""Groups of runs and protocols that belong together: sweeps, reproductions, ablations, controls."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from itertools import groupby
from operator import attrgetter
from typing import Any

from electra.config import PretrainConfig
from electra.report.runs import Inputs, PretrainRun, Protocol

SAME_FLOPS = 0.02
"""Largest relative difference in FLOPs at which another run still counts as a control."""

Comparisons = list[tuple[Protocol, list[tuple[str, Protocol]]]]
"""Pairs of a base protocol and the protocols to compare with the base; each of these has a name."""


def alike(runs: Sequence[PretrainRun], *varied: str) -> list[list[PretrainRun]]:
    """Return groups of ELECTRA runs that differ only in the settings named in `varied`; a group is sorted by these."""

    def key(run: PretrainRun) -> str:
        names = [f.name for f in dataclasses.fields(run.config) if not f.metadata["free"] and f.name not in varied]
        return json.dumps([[getattr(run.config, n) for n in names], vars(run.shape), run.tokenizer, run.shards])

    pairs = sorted((run for run in runs if run.config.objective == "rtd"), key=key)
    return [sorted(group, key=attrgetter(*(f"config.{n}" for n in varied))) for _, group in groupby(pairs, key)]


def sweeps(runs: Sequence[PretrainRun]) -> list[list[PretrainRun]]:
    """Return groups of runs that differ only in seed and generator size; a group has two generator sizes or more."""
    groups = alike(runs, "generator_size", "seed")
    return [group for group in groups if len({run.config.generator_size for run in group}) > 1]


def other_sizes(inputs: Inputs) -> list[PretrainRun]:
    """Return the runs in sweeps with a generator size other than table 5's; figure 3 leaves these out."""
    size = PretrainConfig().generator_size
    return [run for sweep in sweeps(inputs.runs) for run in sweep if run.config.generator_size != size]


def reproductions(inputs: Inputs) -> list[PretrainRun]:
    """Return the reproduction runs, the largest first: ELECTRA runs that are not in `other_sizes`."""
    others = other_sizes(inputs)
    runs = [run for run in inputs.runs if run.config.objective == "rtd" and run not in others]
    return sorted(runs, key=lambda run: (-run.shape.num_layers * run.shape.hidden_size, run.name))


def sweep_protocols(sweep: Sequence[PretrainRun], inputs: Inputs) -> tuple[int | None, list[Protocol]]:
    """Return the update where most runs of a sweep were fine-tuned (latest in a tie), and that update's protocols."""
    found = [p for p in without_variants(inputs) if p.run in sweep and not p.facts["from_scratch"]]
    counts = {p.step: len({q.run.name for q in found if q.run and q.step == p.step}) for p in found}
    step = max(counts, key=lambda step: (counts[step], step), default=None)
    return step, [p for p in found if p.step == step]


def without_variants(inputs: Inputs) -> list[Protocol]:
    """Return the protocols that are not an ablation of another protocol."""
    variants = {variant for _, variants in ablations(inputs) for _, variant in variants}
    return [protocol for protocol in inputs.protocols if protocol not in variants]


def in_order(rows: Sequence[Protocol]) -> list[Protocol]:
    """Return protocols in the order of rows: pre-trained models before random starts, then by run and update."""
    return sorted(rows, key=lambda p: (p.facts["from_scratch"], p.run.name if p.run else p.facts["checkpoint"], p.step))


def ablations(inputs: Inputs) -> Comparisons:
    """Return each checkpoint's protocol with most variants (in a tie: fewest changed settings), and its variants."""
    groups: dict[tuple[Any, ...], list[Protocol]] = {}
    for protocol in inputs.protocols:
        facts = protocol.facts
        start = (facts["checkpoint_sha256"], facts["from_scratch"], facts["init_from_mnli"])
        groups.setdefault(start, []).append(protocol)
    found = []
    for group in groups.values():
        base = min(group, key=lambda p: (-len(_variants(p, group)), len(p.facts["overrides"])))
        found += [(base, _variants(base, group))] if _variants(base, group) else []
    return found


def _variants(base: Protocol, group: Sequence[Protocol]) -> list[tuple[str, Protocol]]:
    """Return the protocols of a group that differ from `base` in one setting, each with the change as its name."""
    found, old = [], base.facts["settings"]
    for protocol in group:
        new = protocol.facts["settings"]
        changed = [name for name in old if name != "recipe" and old[name] != new.get(name)]
        if len(changed) == 1:
            found.append((f"`{changed[0]}`: {old[changed[0]]} -> {new.get(changed[0])}", protocol))
    return sorted(found, key=lambda variant: variant[0])


def controls(inputs: Inputs) -> Comparisons:
    """Return ELECTRA protocols that have controls, each with its controls: a random start or a masked-LM run."""
    found = []
    for base in without_variants(inputs):
        if base.run and not base.facts["from_scratch"] and base.run.config.objective == "rtd":
            others = [(other.name, other) for other in inputs.protocols if _is_control(base, other)]
            found += [(base, others)] if others else []
    return found


def _is_control(base: Protocol, other: Protocol) -> bool:
    """Return whether `other` differs from `base` only in its start: random weights, or a masked LM of equal FLOPs."""
    if base.run is None or other.run is None or other.run.shape != base.run.shape:
        return False
    is_same = base.run.tokenizer == other.run.tokenizer
    is_same &= all(base.facts[name] == other.facts[name] for name in ("settings", "precision"))
    if other.facts["from_scratch"] or not is_same:
        return is_same
    rows, other_rows = ((run.config.batch_size, run.config.seq_length, run.shards) for run in (base.run, other.run))
    flops, other_flops = base.run.flops(base.step)[1], other.run.flops(other.step)[1]
    is_close = abs(flops - other_flops) <= SAME_FLOPS * other_flops
    return other.run.config.objective == "mlm" and rows == other_rows and is_close
