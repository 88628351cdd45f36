"""What others printed is shipped cell by cell with its source, and its arithmetic is done again."""

from __future__ import annotations

import csv
import math

import pytest

from electra.report import literature
from electra.report.literature import COLUMNS, MERCIER, OFFICIAL, efficiency, mean_of_eight, official_curve, table
from electra.scores.tables import differs


def test_every_cell_names_its_metric_and_its_source():
    with open(literature.FOLDER / "literature.csv", newline="") as file:
        lines = [*csv.DictReader(file)]
    assert len(lines) > 300
    assert all(line["value"] and line["metric"] and line["source"] for line in lines)
    assert len({(line["table"], line["row"], line["column"]) for line in lines}) == len(lines)


def test_a_cell_that_averages_two_metrics_says_so():
    kinds = {name: [row[task].metric for task in COLUMNS if row[task].metric.startswith("mean of")]
             for name, row in table("2").items()}  # fmt: skip
    assert {name for name, found in kinds.items() if found} == {"DistilBERT6", "BERT-Base"}
    assert kinds["BERT-Base"] == ["mean of f1 and accuracy", "mean of pearson and spearman", "mean of f1 and accuracy"]


@pytest.mark.parametrize(
    ("name", "eight", "with_constant"),
    [("ELMo", 65.13, 64.15), ("BERT-Base", 83.00, 80.04), (OFFICIAL, 80.36, 77.69), (MERCIER, 78.79, 76.29)],
)
def test_averages_of_table_2_come_from_its_columns(name, eight, with_constant):
    row = table("2")[name]
    assert mean_of_eight(row) == pytest.approx(eight, abs=0.006)
    assert literature.with_wnli(row) == pytest.approx(with_constant, abs=0.006)


def test_merciers_own_average_is_78_8_and_not_the_79_2_it_prints():
    row = table("2")[MERCIER]
    assert sum(map(float, "53.5 88.7 87.6 85.2 86.1 80.2 87.5 61.5".split())) / 8 == pytest.approx(mean_of_eight(row))
    assert row["AVG"].value == "79.2"
    assert f"{mean_of_eight(row):.1f}" == "78.8"
    wrong = [name for name, cells in table("2").items()
             if "AVG" in cells and differs(cells["AVG"].value, mean_of_eight(cells))]  # fmt: skip
    assert wrong == [f"Mercier, {share} % trained" for share in (6, 12, 25, 50, 75, 100)]


def test_table_1_adds_up_to_17_75_days_which_are_the_962_dollars_it_prints():
    # 5 x 1 x 1 + 0.2 x 6 x 5 + 1.25 x 4 x 1 + 0.2 x 4 x 5, less one run to 250,000 updates and its five fine-tunings
    assert 5 + 6 + 5 + 4 - (1.25 + 0.2 * 5) == 17.75
    total, overlap = literature.printed_days()
    assert (total, overlap, total - overlap) == (20.0, 2.25, 17.75)
    assert f"{17.75 * 24 * 2.26:.2f}" == "962.76"


@pytest.mark.parametrize(
    ("name", "days", "devices", "tflops", "per_avg", "per_glue"),
    [
        ("ELMo", 14, 3, 8.9, 0.1895, 0.1933),
        ("ELMo frozen", 14, 3, 8.9, 0.1745, 0.1796),
        ("GPT", 30, 8, 12, 1.220, 1.2605),
        ("DistilBERT6", 3.75, 8, 16, None, 0.2057),
        ("BERT-Base", 4, 16, 45, None, 1.188),
        (OFFICIAL, 4, 1, 16, 0.0263, None),
        (MERCIER, 3.75, 1, 35, 0.0547, 0.0565),
    ],
)
def test_table_3_follows_the_hardware_rule(name, days, devices, tflops, per_avg, per_glue):
    cost, per = efficiency(name)
    assert cost == pytest.approx(days * devices * tflops / 1000 * 0.33)
    assert per.get("AVG") == (per_avg and pytest.approx(per_avg, abs=6e-5))
    assert per.get("GLUE*") == (per_glue and pytest.approx(per_glue, abs=6e-5))


def test_the_one_misprint_of_table_3_is_gpts_cost_per_glue_1_26_and_not_1_22():
    wrong = []
    for name, row in table("3").items():
        if "days" in row:
            cost, per = efficiency(name)
            checks = {"pfs_days": cost, "per_avg": per.get("AVG"), "per_glue": per.get("GLUE*")}
            wrong += [(name, c) for c, v in checks.items() if v is not None and c in row and differs(row[c].value, v)]
    assert wrong == [("GPT", "per_glue")]
    assert f"{efficiency('GPT')[1]['GLUE*']:.2f}" == "1.26"


def test_the_official_curve_keeps_total_loss_equal_to_its_parts():
    curve = official_curve()
    assert (curve["step"][0], curve["step"][-1]) == (50_000, 1_000_000)
    for total, masked, disc in zip(curve["total_loss"], curve["masked_lm_loss"], curve["disc_loss"], strict=True):
        assert total == pytest.approx(masked + 50 * disc, rel=0.01)  # read off a figure, within 1 %
    assert math.isnan(curve["disc_accuracy"][0])  # what cannot be read is not invented
