"""Tables 5 and 6: the recipes are what was printed, but for the departures that are marked."""

from __future__ import annotations

import dataclasses

import pytest

from electra.cli import build
from electra.config import FINETUNE_RECIPES, PRETRAIN_RECIPES, EncoderConfig, FinetuneConfig, PretrainConfig
from electra.report.literature import table
from electra.report.runs import read_inputs
from electra.report.settings import tables_5_and_6
from electra.scores.tables import DIFFERS
from tests.helpers.records import FIXTURES

WORDS = {True: "AdamW", False: "Adam"}
DEPARTURES = {"5": {"adam_beta2", "precision"}, "6": {"adam_beta2", "precision", "warmup_fraction"}}
OFFICIAL_DEPARTURES = {"5": set(), "6": {"learning_rate", "weight_decay"}}  # its code's defaults, not the paper's


def ours(name: str, recipe: str) -> dict[str, object]:
    if name == "6":
        return dataclasses.asdict(build(FinetuneConfig, FINETUNE_RECIPES[recipe]))
    return dataclasses.asdict(EncoderConfig()) | dataclasses.asdict(build(PretrainConfig, PRETRAIN_RECIPES[recipe]))


@pytest.mark.parametrize(("column", "recipe"), [("original", "official"), ("mercier", "mercier")])
@pytest.mark.parametrize("name", ["5", "6"])
def test_every_printed_setting_is_the_recipes_but_for_the_departures(name: str, column: str, recipe: str):
    differ = set()
    for setting, row in table(name).items():
        value, printed = ours(name, recipe)[setting], row[column].value
        if isinstance(value, bool):
            same = WORDS[value] == printed
        elif setting == "num_epochs":
            same = (value, printed) == (0, "10 for RTE and STS, else 3")
        else:
            same = str(value) == printed or (printed[0].isdigit() and " " not in printed and float(printed) == value)
        differ |= set() if same else {setting}
    assert differ == DEPARTURES[name] | (OFFICIAL_DEPARTURES[name] if recipe == "official" else set())
    marked = {line.split("`")[1] for line in tables_5_and_6(read_inputs([FIXTURES])).splitlines() if DIFFERS in line
              and line.startswith("| `")}  # fmt: skip
    assert marked == DEPARTURES["5"] | DEPARTURES["6"] | OFFICIAL_DEPARTURES["6"]


def test_a_runs_departures_tell_its_shape_and_not_the_name_that_its_size_had():
    text = tables_5_and_6(read_inputs([FIXTURES]))
    assert "- sweep/g0.25-s0, 4 layers x 128, recipe mercier: num_train_steps is 1000000, here 20000; " in text
    assert "- full, 12 layers x 256, recipe mercier: none" in text
    assert "mini" not in text
