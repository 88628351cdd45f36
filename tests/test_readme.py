"""The README is true: its tables are the code's, its commands exist, the tests it names are there."""

from __future__ import annotations

import ast
import dataclasses
import re
import shlex
import subprocess
from pathlib import Path

import pytest

import train_glue
import train_pretrain
from electra.__main__ import COMMANDS
from electra.cli import settings_table
from electra.config import EncoderConfig, FinetuneConfig, PretrainConfig
from electra.data.prepare import PrepareConfig
from electra.report.page import figures, report
from electra.report.runs import read_inputs
from tests.conftest import ROOT

README = (ROOT / "README.md").read_text()


def lines_of(kind: str, block: str) -> list[str]:
    """The commands of a block, one a line; a script's are what a shell makes of it, `python` replaced by printing."""
    if kind == "bash":
        echo = 'python() { printf "python"; printf " %q" "$@"; echo; }\n'
        block = subprocess.run(["bash", "-euc", echo + block], capture_output=True, text=True, check=True).stdout
    return [line.split("#")[0].strip() for line in block.splitlines() if line.strip()]


BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", README, re.M | re.S)
COMMAND_LINES = [line for kind, block in BLOCKS if kind in ("", "bash") for line in lines_of(kind, block)]


@pytest.mark.parametrize("config_class", [PrepareConfig, EncoderConfig, PretrainConfig, FinetuneConfig])
def test_the_settings_tables_are_generated_from_the_settings(config_class):
    assert settings_table(config_class) in README


def test_the_file_map_names_every_module_once_and_no_other():
    mapped = re.findall(r"^\| `(electra/\w+\.py|train_\w+\.py)` \|", README, re.M)
    there = [f"electra/{path.name}" for path in (ROOT / "electra").glob("*.py") if path.name != "__init__.py"]
    assert sorted(mapped) == sorted([*there, "train_pretrain.py", "train_glue.py"])


def test_the_file_map_says_what_each_module_says_of_itself():
    for name, said in re.findall(r"^\| `electra/(\w+)\.py` \| (.*) \|$", README, re.M):
        documented = ast.get_docstring(ast.parse((ROOT / "electra" / f"{name}.py").read_text())) or ""
        assert " ".join(documented.split()).startswith(said)


def test_modules_the_readme_speaks_of_exist():
    for name in re.findall(r"`([a-z_]+)\.[A-Za-z_]+`", README.split("## Departures")[1].split("## Results")[0]):
        assert (ROOT / "electra" / f"{name}.py").exists() or (ROOT / f"{name}.py").exists(), name


def test_every_test_the_register_names_exists():
    sources = "".join(path.read_text() for path in (ROOT / "tests").glob("test_*.py"))
    named = re.findall(r"`(test_\w+)`", README)
    assert len(named) > 20
    assert [name for name in named if f"def {name}(" not in sources] == []


def test_there_is_nothing_left_to_fill_in():
    assert not re.search(r"^[A-Z_]{6,}$|TODO|DEMO_BAND", README, re.M)


def test_the_tables_of_the_results_are_what_the_report_draws_from_the_committed_records():
    results = README.split("## Results\n")[1].split("## Performance\n")[0]
    inputs = read_inputs([ROOT / ".records"])
    drawn = report(inputs, dict.fromkeys(figures(inputs), ""), usd_per_hour=0.0).splitlines()
    shown = [line for line in results.splitlines() if line.startswith("|")]
    assert len(shown) > 10
    assert [line for line in shown if line not in drawn] == []


@pytest.mark.parametrize("line", COMMAND_LINES)
def test_every_command_of_the_readme_is_one_that_exists(line):
    for command in line.split(" && "):
        words = shlex.split(command)
        if words[0] == "torchrun":
            words = ["python", *words[words.index("train_pretrain.py") :]]
        if words[:2] == ["python", "train_pretrain.py"]:
            train_pretrain.parse(words[2:])
        elif words[:2] == ["python", "train_glue.py"]:
            train_glue.parse(words[2:])
        elif words[:3] == ["python", "-m", "electra"]:
            assert words[3] in COMMANDS
        else:
            assert words[0] in ("pip", "pytest") or words[:3] == ["python", "-m", "tests.check"], command


def test_the_redo_commands_train_what_the_committed_runs_are():
    committed = {f"runs/{run.name}": run for run in read_inputs([ROOT / ".records"]).runs}
    redone = {}
    for words in map(shlex.split, COMMAND_LINES):
        if words[1:2] == ["train_pretrain.py"] and "runs/shards-8192" in words:
            config, shape, _ = train_pretrain.parse(words[2:])
            redone[config.run_dir] = dataclasses.replace(shape, vocab_size=8_192), settings_that_bind(config)
    assert len(redone) == 5 + 2 * 5  # experiment 4.1; two seeds of five sizes
    found = {name: (run.shape, settings_that_bind(run.config)) for name, run in committed.items()}
    assert redone == {name: found[name] for name in redone}


def settings_that_bind(config: PretrainConfig) -> dict[str, object]:
    """What must be the same for a run to be the same, but for the precision, which `auto` leaves to the machine."""
    names = [field.name for field in dataclasses.fields(config) if not field.metadata["free"]]
    return {name: getattr(config, name) for name in names if name != "precision"}


def test_every_run_of_the_sweep_loop_is_fine_tuned():
    tuned = [line for line in COMMAND_LINES if "train_glue.py" in line and "--checkpoint runs/sweep/g" in line]
    assert len(tuned) == 2 * 5


def test_no_line_speaks_of_a_place_on_somebodys_machine():
    assert not re.search(r"/work/|/root/|/tmp/|shared/data", README)


def test_the_readme_stays_within_its_budget_of_bytes():
    assert Path(ROOT / "README.md").stat().st_size < 60_000
