"""The shape of the house: what imports what, what importing does, and which settings are read."""

from __future__ import annotations

import ast
import dataclasses
import re
import subprocess
import sys
from pathlib import Path

import pytest

from electra.config import EncoderConfig, FinetuneConfig, PretrainConfig
from tests.conftest import ROOT

ORDER = """
files cli seeding word_table bpe config bpe_batch bpe_trainer chunk_counter tokenizer_json encoder tokenizer wordpiece
archives corpus parallel shards windows prepare_learn prepare_encode prepare_report prepare dropout transformer models
corruption objective optim replay runtime efficiency metrics spread literature tables evaluation verdicts runlog
checkpoint training_state hub_layout glue glue_rows glue_batches glue_predictions glue_release glue_download
glue_command finetune glue_results glue_compare model_card hub inference inference_command records report_scores
report_cost report_findings report_claims report_figures report_settings report cost
""".split()
RUN_TIME_PACKAGES = {"torch", "numpy", "regex", "tqdm", "scipy"}
MODULES = sorted((ROOT / "electra").glob("*.py"))
SCRIPTS = sorted(ROOT.glob("train_*.py"))
SOURCES = [*MODULES, *SCRIPTS]


def imported_names(path: Path, top_level_only: bool = False) -> set[str]:
    """Dotted names of modules a file imports, `from electra import x` as `electra.x`."""
    tree = ast.parse(path.read_text())
    names = set()
    for node in tree.body if top_level_only else ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level:
            names.add("electra.a relative import, which hides its place")
        elif isinstance(node, ast.ImportFrom) and node.module == "electra":
            names |= {f"electra.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module or "")
    return names


def test_every_module_has_its_place_in_the_order():
    names = {path.stem for path in MODULES} - {"__init__", "__main__"}
    assert names <= set(ORDER), f"add to ORDER: {names - set(ORDER)}"


@pytest.mark.parametrize("path", [p for p in MODULES if not p.stem.startswith("__")], ids=lambda p: p.stem)
def test_a_module_imports_only_modules_before_its_own(path):
    before = set(ORDER[: ORDER.index(path.stem)])
    names = imported_names(path)
    ours = {name.split(".")[1] for name in names if name.startswith("electra.")}
    assert ours <= before, f"{path.stem} imports {sorted(ours - before)}, which come after it"
    assert not any(name.startswith(("train_", "tests")) for name in names), f"{path.stem} imports a script"


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: p.stem)
def test_only_the_five_run_time_packages_are_imported_at_the_top(path):
    packages = {name.split(".")[0] for name in imported_names(path, top_level_only=True)}
    assert packages - sys.stdlib_module_names - {"electra", "__future__"} <= RUN_TIME_PACKAGES


def test_the_top_level_holds_what_the_card_names_and_dot_files():
    listing = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    visible = {name.split("/")[0] for name in listing.split("\n") if name and not name.startswith(".")}
    assert visible <= {"setup.py", "README.md", "electra", "train_pretrain.py", "train_glue.py", "tests"}


@pytest.mark.parametrize(
    "module", ["prepare", "tokenizer", "corpus", "shards", "windows", "glue_rows", "metrics", "spread"]
)
def test_data_modules_never_load_torch(module):
    code = f"import sys, electra.{module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_importing_the_package_prints_nothing_and_loads_nothing_heavy():
    code = "import sys, electra; sys.exit(any(name in sys.modules for name in ('torch', 'numpy', 'scipy')))"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=False)
    assert (result.returncode, result.stdout, result.stderr) == (0, b"", b"")


def test_importing_every_module_prints_nothing_and_draws_no_random_number():
    names = ", ".join(f"electra.{path.stem}" for path in MODULES if not path.stem.startswith("__"))
    code = (
        "import random, torch, numpy\n"
        "def states(): return random.getstate(), torch.random.get_rng_state().tolist(), str(numpy.random.get_state())\n"
        f"before = states()\nimport {names}, train_pretrain, train_glue\nassert states() == before"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=False)
    assert (result.returncode, result.stdout, result.stderr) == (0, b"", b"")


@pytest.mark.parametrize("path", MODULES, ids=lambda p: p.stem)
def test_only_runtime_reads_the_environment_and_only_main_reads_argv(path):
    source = path.read_text()
    assert path.stem == "runtime" or "os.environ" not in source
    assert path.stem == "__main__" or not re.search(r"sys\.argv", source)


@pytest.mark.parametrize("config_class", [EncoderConfig, PretrainConfig, FinetuneConfig])
def test_every_setting_is_read_somewhere(config_class):
    sources = "".join(path.read_text() for path in SOURCES if path.stem != "config")
    names = [field.name for field in dataclasses.fields(config_class)]
    unread = [name for name in names if not re.search(rf"\b(config|shape|self)\.{name}\b", sources)]
    assert not unread
