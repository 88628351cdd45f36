"""Tables 5 and 6: the recipes are what was printed, but for the departures that are marked."""

from __future__ import annotations

import re

from electra.report.runs import read_inputs
from electra.report.settings import tables_5_and_6
from electra.scores.tables import DIFFERS
from tests.helpers.records import FIXTURES


def test_the_recipes_are_what_was_printed_but_for_the_marked_settings():
    found = []
    for line in re.findall(r"^\| `.*", tables_5_and_6(read_inputs([FIXTURES])), re.M):
        setting, _, official, _, mercier = (cell.strip(" `") for cell in line[1:-1].split("|"))
        found += [(setting, "official")] if DIFFERS in official else []
        found += [(setting, "mercier")] if DIFFERS in mercier else []
    both = {(setting, recipe) for setting in ("adam_beta2", "precision") for recipe in ("official", "mercier")}
    warmup = {("warmup_fraction", recipe) for recipe in ("official", "mercier")}
    defaults_of_its_code = {("learning_rate", "official"), ("weight_decay", "official")}
    assert sorted(found) == sorted([*both, *both, *warmup, *defaults_of_its_code])  # both tables have the first two


def test_a_runs_departures_tell_its_shape_and_not_the_name_that_its_size_had():
    text = tables_5_and_6(read_inputs([FIXTURES]))
    assert "- sweep/g0.25-s0, 4 layers x 128, recipe mercier: num_train_steps is 1000000, here 20000; " in text
    assert "- full, 12 layers x 256, recipe mercier: none" in text
    assert "mini" not in text
