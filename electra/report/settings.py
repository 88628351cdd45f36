"""Tables 5 and 6: the settings in use beside the published settings, with a mark at every difference."""

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
"""{(setting, our value): the same value in the words of the published tables}."""


def _is_same(printed: str, ours: str) -> bool:
    try:
        return float(printed) == float(ours)
    except ValueError:
        return printed == ours


def settings_table(name: str, recipes: Mapping[str, Mapping[str, Any]]) -> str:
    """Return table "5" or "6": the published values, and the values of the recipes `official` and `mercier`."""
    rows = []
    for setting, row in table(name).items():
        cells = [f"`{setting}`"]
        for column, recipe in (("original", "official"), ("mercier", "mercier")):
            value = recipes[recipe][setting]
            ours = WORDS.get((setting, value), str(value))
            printed = row[column].value
            cells += [printed, ours if _is_same(printed, ours) else f"{ours} {DIFFERS}"]
        rows.append(cells)
    header = ["setting", "original, printed", "recipe `official`", "Mercier, printed", "recipe `mercier`"]
    return markdown(header, rows)


def run_departures(run: PretrainRun) -> list[str]:
    """Return a text for each setting of a run that differs from the run's recipe with the small model's shape."""
    preset = {"recipe": run.config.recipe, **PRETRAIN_RECIPES[run.config.recipe]}
    config = dataclasses.replace(run.config, size=PretrainConfig().size)  # the shape is compared, not the size's name
    found = differences(build(PretrainConfig, preset), config) + differences(EncoderConfig(), run.shape)
    return [change.replace("asked for", "here") for change in found]


def tables_5_and_6(inputs: Inputs) -> str:
    """Return tables 5 and 6 for both recipes, and a list of the settings that each run changes."""
    shape = dataclasses.asdict(EncoderConfig())
    pretrain = {name: shape | vars(build(PretrainConfig, values)) for name, values in PRETRAIN_RECIPES.items()}
    finetune = {name: vars(build(FinetuneConfig, values)) for name, values in FINETUNE_RECIPES.items()}
    changes = [
        f"{run.name}, {run.shape.num_layers} layers x {run.shape.hidden_size}, recipe {run.config.recipe}: "
        f"{'; '.join(run_departures(run)) or 'none'}"
        for run in inputs.runs
    ]
    parts = [
        f"### Table 5: pre-training\n\n{settings_table('5', pretrain)}",
        f"### Table 6: fine-tuning\n\n{settings_table('6', finetune)}",
        f"{DIFFERS} departs from what was printed; electra/DEPARTURES.md says why.",
        *([f"Departures of each run from its recipe at the small size:\n\n{bullets(changes)}"] if changes else []),
    ]
    return "\n\n".join(parts)
