"""Tables 5 and 6 from the resolved settings, with every departure from what was printed marked."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from electra.cli import build, differences
from electra.config import FINETUNE_RECIPES, PRETRAIN_RECIPES, EncoderConfig, FinetuneConfig, PretrainConfig
from electra.report.literature import table
from electra.report.runs import Inputs, PretrainRun
from electra.scores.tables import DIFFERS, bullets, markdown

WORDS: Mapping[tuple[str, Any], str] = {
    ("bias_correction", True): "AdamW",
    ("bias_correction", False): "Adam",
    ("num_epochs", 0): "10 for RTE and STS, else 3",
}
"""Our values as the tables print them."""


def _is_same(printed: str, ours: str) -> bool:
    try:
        return float(printed) == float(ours)
    except ValueError:
        return printed == ours


def settings_rows(name: str, official: Mapping[str, Any], mercier: Mapping[str, Any]) -> list[list[str]]:
    """The rows of table "5" or "6": printed and ours, for the original and for Mercier."""
    rows = []
    for setting, row in table(name).items():
        cells = [f"`{setting}`"]
        for column, values in (("original", official), ("mercier", mercier)):
            ours = WORDS.get((setting, values[setting]), str(values[setting]))
            printed = row[column].value
            cells += [printed, ours if _is_same(printed, ours) else f"{ours} {DIFFERS}"]
        rows.append(cells)
    return rows


def _pretrain_values(recipe: str) -> dict[str, Any]:
    config = build(PretrainConfig, PRETRAIN_RECIPES[recipe])
    return {**dataclasses.asdict(EncoderConfig()), **dataclasses.asdict(config)}


def run_departures(run: PretrainRun) -> list[str]:
    """How a run's settings differ from its recipe at the small size."""
    preset = {"recipe": run.config.recipe, **PRETRAIN_RECIPES[run.config.recipe]}
    shape = dataclasses.replace(EncoderConfig(), vocab_size=run.shape.vocab_size)
    config = dataclasses.replace(run.config, size=PretrainConfig().size)  # its name may stand for another shape today
    found = differences(build(PretrainConfig, preset), config) + differences(shape, run.shape)
    if run.shape.vocab_size != EncoderConfig().vocab_size:
        found.append(f"vocab_size is {EncoderConfig().vocab_size}, asked for {run.shape.vocab_size}")
    return [change.replace("asked for", "here") for change in found]


def tables_5_and_6(inputs: Inputs) -> str:
    """Both tables for the two recipes, and what each run changes."""
    header = ["setting", "original, printed", "recipe `official`", "Mercier, printed", "recipe `mercier`"]
    pretrain = settings_rows("5", _pretrain_values("official"), _pretrain_values("mercier"))
    finetune = {name: dataclasses.asdict(build(FinetuneConfig, FINETUNE_RECIPES[name])) for name in FINETUNE_RECIPES}
    parts = [
        "### Table 5: pre-training\n\n" + markdown(header, pretrain),
        "### Table 6: fine-tuning\n\n"
        + markdown(header, settings_rows("6", finetune["official"], finetune["mercier"])),
        f"{DIFFERS} departs from what was printed; electra/DEPARTURES.md says why.",
    ]
    changes = [
        f"{run.name}, {run.layers}, recipe {run.config.recipe}: {'; '.join(run_departures(run)) or 'none'}"
        for run in inputs.runs
    ]
    if changes:
        parts.append("Departures of each run from its recipe at the small size:\n\n" + bullets(changes))
    return "\n\n".join(parts)
