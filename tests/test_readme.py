"""The pages are true: their commands exist, the files and tests they name are there, their tables are the records'."""

from __future__ import annotations

import dataclasses
import importlib.util
import re
import shlex
from collections import Counter

import pytest

import train_glue
import train_pretrain
from electra.__main__ import COMMANDS
from electra.config import PretrainConfig
from electra.report.page import figures, report
from electra.report.runs import read_inputs
from tests.conftest import ROOT
from tests.helpers.readme import PAGES, commands

COMMAND_LINES = [line for page in PAGES for line in commands(page)]


@pytest.mark.parametrize("line", COMMAND_LINES)
def test_every_command_of_the_pages_is_one_that_exists(line):
    words = shlex.split(line)
    if words[0] == "torchrun":
        words = ["python", *words[words.index("train_pretrain.py") :]]
    if words[:2] == ["python", "train_pretrain.py"]:
        train_pretrain.parse(words[2:])
    elif words[:2] == ["python", "train_glue.py"]:
        train_glue.parse(words[2:])
    elif words[:3] == ["python", "-m", "electra"]:
        assert words[3] in COMMANDS
    elif words[:2] == ["python", "-m"]:
        assert importlib.util.find_spec(words[2])
    else:
        assert words[0] in ("pip", "pytest") or words[1] == "-"  # Python in the script itself


def test_the_reading_guide_names_every_module_of_the_package_once_and_no_other():
    named = Counter(re.findall(r"^\| `([\w/]+\.\w+)` \|", PAGES["electra/README.md"], re.M))
    package = [*(ROOT / "electra").rglob("*.py"), *(ROOT / "electra").rglob("*.csv")]
    there = Counter(str(path.relative_to(ROOT / "electra")) for path in package if path.name != "__init__.py")
    assert named == there


@pytest.mark.parametrize("page", PAGES)
def test_the_files_and_tests_that_a_page_names_are_there(page):
    places = (ROOT, ROOT / "electra", ROOT / "tests", ROOT / "tests/benchmarks")
    files = re.findall(r"`([\w/]+\.(?:py|csv))\b", PAGES[page])
    assert [name for name in files if not any((place / name).exists() for place in places)] == []
    sources = "".join(path.read_text() for path in (ROOT / "tests").rglob("*.py"))
    tests = re.findall(r"`(test_\w+)`", PAGES[page])
    assert [name for name in tests if f"def {name}(" not in sources] == []


@pytest.mark.parametrize("page", PAGES)
def test_the_links_of_a_page_lead_somewhere(page):
    folder = (ROOT / page).parent
    paths = [link.split("#")[0] for link in re.findall(r"\]\(([^)]+)\)", PAGES[page]) if "://" not in link]
    assert [path for path in paths if path and not (folder / path).exists()] == []
    headings = [line.strip("# ").lower().replace(" ", "-") for line in PAGES[page].splitlines() if line[:1] == "#"]
    assert [name for name in re.findall(r"\]\(#([^)]+)\)", PAGES[page]) if name not in headings] == []


@pytest.mark.parametrize("page", PAGES)
def test_a_page_has_nothing_left_to_fill_in_and_names_no_place_on_somebodys_machine(page):
    assert not re.search(r"TODO|FIXME|XXX|/work/|/root/|/home/|/tmp/|shared/data", PAGES[page])


def test_tables_of_results_are_what_the_report_draws_from_the_committed_records():
    inputs = read_inputs([ROOT / ".records"])
    drawn = report(inputs, dict.fromkeys(figures(inputs), ""))
    results = PAGES[".records/README.md"].split("## Speed and memory\n")[0]
    shown = [line for line in results.splitlines() if line.startswith("|")]
    assert len(shown) > 40
    assert [line for line in shown if line not in drawn.splitlines()] == []
    scores = re.findall(r"-?\d+\.\d\d ± \d+\.\d\d \(\d\)", PAGES["README.md"])
    assert len(scores) > 10
    assert [score for score in scores if score not in drawn] == []


def test_the_redo_commands_train_what_the_committed_runs_are_and_fine_tune_the_sweep():
    committed = {f"runs/{run.name}": run for run in read_inputs([ROOT / ".records"]).runs}
    lines, redone = commands(".records/README.md") + commands(".records/mini.sh"), {}
    for words in map(shlex.split, lines):
        if words[1:2] == ["train_pretrain.py"]:
            config, shape, _ = train_pretrain.parse(words[2:])
            redone[config.run_dir] = dataclasses.replace(shape, vocab_size=8_192), settings_that_bind(config)
    assert len(redone) == 5 + 2 * 5 + 5  # the older five; two seeds of five generator sizes; the five of mini.sh
    found = {name: (run.shape, settings_that_bind(run.config)) for name, run in committed.items()}
    assert redone == {name: found[name] for name in redone}
    assert sum("--checkpoint runs/sweep/g" in line for line in lines) == 2 * 5


def settings_that_bind(config: PretrainConfig) -> dict[str, object]:
    """What makes a run the same run, but for what `auto` leaves to the machine and the name of the shape."""
    names = [field.name for field in dataclasses.fields(config) if not field.metadata["free"]]
    return {name: getattr(config, name) for name in names if name not in ("precision", "size")}
