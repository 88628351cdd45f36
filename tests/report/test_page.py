"""The whole report on recorded toy runs: golden text, figures, and what is said where nothing was measured."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest

import train_pretrain
from electra.report import figures as report_figures
from electra.report import page as report
from electra.report.groups import reproductions, sweeps
from electra.report.runs import Inputs, read_inputs
from tests.conftest import ROOT

FIXTURES = "tests/fixtures/records"
GOLDEN = ROOT / "tests" / "fixtures" / "report.md"


@pytest.fixture(autouse=True)
def _at_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def sections(text: str) -> dict[str, str]:
    return dict(re.findall(r"^## (.*)\n\n((?:(?!^## ).*\n)*)", text, re.M))


def test_the_report_on_recorded_runs_is_the_golden_text_to_the_letter():
    inputs = read_inputs([Path(FIXTURES)])
    shown = {name: f"![{name}]({name}.png) ([SVG]({name}.svg))" for name in report.figures(inputs)}
    assert report.report(inputs, shown) == GOLDEN.read_text()


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of the recorded runs as the command writes it."""
    folder = tmp_path_factory.mktemp("drawn") / "report"
    report.main([str(ROOT / FIXTURES), "--out", str(folder)])
    return folder


def test_nothing_measured_reads_not_measured_in_every_row_of_ours_and_no_cell_is_blank():
    text = report.report(Inputs([], [], []), {"figure-1": "x"})
    found = sections(text)
    for title in ("Table 1: compute", "Table 2: GLUE dev sets", "Table 3: efficiency"):
        ours = [line for line in found[title].splitlines() if line.startswith("| ours")]
        assert ours, title
        assert all("not measured" in line for line in ours)
    assert "Ablations: not measured." in text
    assert "Figure 2: not measured." in text
    assert "Figure 3: not measured." in text
    cells = [cell for line in text.splitlines() if line.startswith("|") for cell in line[1:-1].split("|")[1:]]
    assert all(cell.strip() for cell in cells)


def test_every_figure_is_drawn_as_png_and_svg_and_shown(drawn: Path):
    pytest.importorskip("matplotlib")
    image = pytest.importorskip("matplotlib.image")
    names = ["figure-1", "figure-2-1", "figure-3"]
    assert sorted(path.name for path in drawn.iterdir()) == sorted(
        [f"{name}.{kind}" for name in names for kind in ("png", "svg")] + ["report.md"]
    )
    text = (drawn / "report.md").read_text()
    for name in names:
        assert f"![{name}]({name}.png) ([SVG]({name}.svg))" in text
        pixels = image.imread(drawn / f"{name}.png")[..., :3].mean(axis=2)  # as on a grey printer
        assert pixels.min() < 0.2
        assert 0.005 < np.mean(pixels < 0.9) < 0.5  # neither blank nor solid
        assert (drawn / f"{name}.svg").read_text().lstrip().startswith("<?xml")


def test_figure_3_has_eight_labelled_panels_with_ours_over_the_official_curve():
    pytest.importorskip("matplotlib")
    figure_module = pytest.importorskip("matplotlib.figure")
    inputs = read_inputs([Path(FIXTURES)])
    kept = []

    class Kept(figure_module.Figure):
        def savefig(self, *args: object, **options: object) -> None:
            kept.append(self)

    original, figure_module.Figure = figure_module.Figure, Kept
    try:
        report_figures.draw_curves(reproductions(inputs), Path("unused"))
        report_figures.draw_sweep(sweeps(inputs.runs)[0], Path("unused"))
        evaluations = [{k: v for k, v in record.items() if k != "disc_auc"} for record in inputs.runs[-1].evaluations]
        collapsed = dataclasses.replace(inputs.runs[-1], evaluations=evaluations)
        assert collapsed.collapse_step is not None
        report_figures.draw_sweep([collapsed], Path("unused"))
    finally:
        figure_module.Figure = original
    curves, sweep = kept[0], kept[2]
    assert [axes.get_ylabel() for axes in curves.axes] == [*report_figures.PANELS.values()]
    assert {axes.get_xlabel() for axes in curves.axes} == {"updates (logarithmic)"}
    assert all(len(axes.lines) == 4 for axes in curves.axes)  # three runs and the official curve
    assert curves.axes[6].lines[-1].get_ydata()[-1] == 0.935
    assert [text.get_text() for text in sweep.legends[0].get_texts()] == [
        "generator 12.5 %", "generator 25 %", "generator 50 %", "declared collapsed"]  # fmt: skip
    styles = {(line.get_linestyle(), line.get_marker()) for line in sweep.axes[0].lines}
    assert len(styles) == 3  # told apart without colour


def test_without_matplotlib_the_tables_come_and_one_line_says_how_to_get_figures(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    report.main([FIXTURES, "--out", str(tmp_path)])
    assert [path.name for path in tmp_path.iterdir()] == ["report.md"]
    said = capsys.readouterr()
    assert f"report: {tmp_path}/report.md: 7 runs, 10 fine-tuning protocols; left out or assumed: 0" in said.out
    assert "pip install -e '.[plots]'" in (tmp_path / "report.md").read_text()


def test_a_real_run_is_reported_as_it_stands(tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)  # drawing is tested above
    run = ["--data", str(tiny_data), "--run-dir", str(tmp_path / "runs" / "tiny"), "--size", "demo", "--device", "cpu"]
    run += ["--num-train-steps", "6", "--num-warmup-steps", "1", "--eval-every", "2", "--log-every", "2"]
    assert train_pretrain.main([*run, "--eval-rows", "8", "--milestones", "0.5"]) == 0
    report.main([str(tmp_path / "runs"), "--out", str(tmp_path / "report")])
    found = sections((tmp_path / "report" / "report.md").read_text())
    assert re.search(r"\| tiny \| mercier \| rtd \| 6 of 6 \| 6,144 \| 0 \| 1 ", found["Inputs"])
    assert "- nothing" in found["Inputs"]
