"""The README is true: its tables are the code's, its commands exist, the tests it names are there."""

from __future__ import annotations

import ast
import dataclasses
import re
import shlex
from pathlib import Path

import pytest

import train_glue
import train_pretrain
from electra.__main__ import COMMANDS
from electra.cli import flag_name, settings_table
from electra.config import EncoderConfig, FinetuneConfig, PretrainConfig
from electra.prepare import PrepareConfig
from electra.records import read_inputs
from electra.report import figures, report
from tests.conftest import ROOT

README = (ROOT / "README.md").read_text()
BLOCKS = [text for kind, text in re.findall(r"^```(\w*)\n(.*?)^```", README, re.M | re.S) if not kind]
COMMAND_LINES = [line.split("#")[0].strip() for block in BLOCKS for line in block.splitlines() if line.strip()]


@pytest.mark.parametrize("config_class", [PrepareConfig, EncoderConfig, PretrainConfig, FinetuneConfig])
def test_the_settings_tables_are_generated_from_the_settings(config_class):
    assert settings_table(config_class) in README


def test_the_flags_of_train_glue_stand_there_as_its_help_says_them():
    settings = {flag_name(field.name) for field in dataclasses.fields(FinetuneConfig)}
    flags = {action.option_strings[0]: action.help for action in train_glue.make_parser()._actions}
    rows = re.findall(
        r"^\| `(--[a-z-]+)` \| (.*) \|$", README.split("`train_glue.py` runs on")[1].split("###")[0], re.M
    )
    assert dict(rows) == {name: text for name, text in flags.items() if name not in {*settings, "-h"}}


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


def test_the_sweep_loop_is_made_of_commands_that_exist():
    (loop,) = re.findall(r"^```bash\n(.*?)^```", README, re.M | re.S)
    parsed = []
    for size in re.findall(r"for size in (.*);", loop)[0].split():
        for line in re.findall(
            r"python (train_\w+\.py .*?)(?: &&)?$", loop.replace("$size", size).replace("$seed", "1"), re.M
        ):
            script, *words = shlex.split(line)
            parsed.append({"train_pretrain.py": train_pretrain, "train_glue.py": train_glue}[script].parse(words))
    assert len(parsed) == 5 * 2  # five sizes, a pre-training and a fine-tuning each


def test_no_line_speaks_of_a_place_on_somebodys_machine():
    assert not re.search(r"/work/|/root/|/tmp/|shared/data", README)


def test_the_readme_stays_within_its_budget_of_bytes():
    assert Path(ROOT / "README.md").stat().st_size < 60_000
