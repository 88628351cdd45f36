"""Numbers as text."""

from __future__ import annotations

import pytest

from electra.scores.statistics import Interval, t_interval
from electra.scores.tables import beside, bullets, differs, interval, markdown, printed_and_ours, spread


def test_a_pipe_in_a_cell_does_not_break_the_table():
    assert markdown(["a", "b"], [["x|y", "z"]]) == "| a | b |\n| --- | --- |\n| x\\|y | z |"


def test_control_characters_of_names_are_escaped_in_tables_and_lists():
    assert markdown(["a"], [["x\x1b[31m\ny\u202e"]]) == "| a |\n| --- |\n| x\\x1b[31m\\ny\\u202e |"
    assert bullets(["task\r± 1"]) == "- task\\r± 1"


def test_a_score_carries_deviation_and_count_and_a_single_run_claims_no_spread():
    assert spread({"n": 5, "mean": 0.535, "sd": 0.0247}) == "53.50 ± 2.47 (5)"
    assert spread({"n": 1, "mean": 0.535, "sd": None}) == "53.50 (1)"
    assert spread(None) == "not measured"
    assert spread({"missing": ["cola"]}) == "not measured"


def test_a_difference_carries_its_interval():
    assert interval(Interval(3, 0.0031, -0.002, 0.0082)) == "+0.31 [-0.20, +0.82] (3)"
    assert interval(Interval(1, -0.01, None, None)) == "-1.00, no interval (1)"
    assert interval(None) == "not measured"


def test_a_printed_number_differs_when_rounding_does_not_explain_it():
    assert differs("79.2", 78.79)
    assert differs("1.22", 1.2605)
    assert not any((differs("77.9", 77.925), differs("22", 22.31), differs("0.5", 0.48)))


def test_a_recomputed_value_stands_beside_the_printed_one():
    assert beside(78.79, "79.2") == "78.79 (printed 79.2 ≠)"
    assert beside(77.93, "77.9") == "77.93 (printed 77.9)"
    assert beside(77.69, "") == "77.69"


def test_the_interval_of_a_few_runs_is_students():
    # mean 2, deviation 1, n 3: 4.302653 is the 97.5 % point of t with 2 degrees of freedom in any table
    found = t_interval([1.0, 2.0, 3.0])
    reach = 4.302653 / 3**0.5
    assert found == (3, 2.0, pytest.approx(2 - reach, abs=1e-5), pytest.approx(2 + reach, abs=1e-5))
    assert t_interval([0.5]) == (1, 0.5, None, None)


def test_a_table_of_ours_leaves_out_the_columns_that_nothing_was_measured_in():
    rows = [["a", "1", "not measured", "not measured"], ["b", "not measured", "not measured", "2"]]
    expected = markdown(["model", "x", "z"], [["a", "1", "not measured"], ["b", "not measured", "2"]])
    header, printed = ["model", "x", "y", "z"], [["p", "1", "2", "3"]]
    assert printed_and_ours(header, printed, rows) == f"{markdown(header, printed)}\n\n{expected}"
    nothing = markdown(["model"], [["ours: not measured"]])
    assert printed_and_ours(header, printed, []) == f"{markdown(header, printed)}\n\n{nothing}"
