"""The order of the folders, the effects of an import, and the settings that are read."""

from __future__ import annotations

import ast
import dataclasses
import graphlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

from electra.config import EncoderConfig, FinetuneConfig, PretrainConfig
from tests.conftest import ROOT

ORDER = (
    "files seeding cli ids config interrupts",
    "tokenizer",
    "data",
    "model",
    "scores",
    "training",
    "pretrain",
    "glue",
    "hub inference",
    "report",
)
"""The folders, lowest first. A folder imports from itself and from lower ones."""

RUN_TIME_PACKAGES = {"torch", "numpy", "regex", "tqdm", "scipy"}
MODULES = sorted((ROOT / "electra").rglob("*.py"))
SCRIPTS = sorted(ROOT.glob("train_*.py"))
SOURCES = [*MODULES, *SCRIPTS]


def module_name(path: Path) -> str:
    """`electra/data/shards.py` -> `electra.data.shards`."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def is_folder(name: str | None) -> bool:
    return name is not None and name.startswith("electra.") and (ROOT / name.replace(".", "/")).is_dir()


def imported_names(path: Path, top_level_only: bool = False) -> set[str]:
    """Dotted names of modules a file imports, `from electra import x` as `electra.x`."""
    tree = ast.parse(path.read_text())
    names = set()
    for node in tree.body if top_level_only else ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level:
            names.add("electra.a relative import, which hides its place")
        elif isinstance(node, ast.ImportFrom) and (node.module == "electra" or is_folder(node.module)):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module or "")
    return names


def room(path: Path) -> str:
    """The folder of a module in the package, or the module's name at the top level."""
    return path.relative_to(ROOT / "electra").parts[0].removesuffix(".py")


def floor(name: str) -> int:
    return next(number for number, names in enumerate(ORDER) if name in names.split())


INSIDE = [path for path in MODULES if not (path.parent.name == "electra" and path.stem.startswith("__"))]


@pytest.mark.parametrize("path", INSIDE, ids=module_name)
def test_a_module_imports_only_from_its_own_folder_and_from_lower_floors(path):
    names = imported_names(path)
    rooms = {name.split(".")[1] for name in names if name.startswith("electra.")} - {room(path)}
    own = floor(room(path))
    higher = {name for name in rooms if floor(name) > own or floor(name) == own > 0}
    assert not higher, f"{path} imports {sorted(higher)}, which stand as high or higher"
    assert not any(name.startswith(("train_", "tests")) for name in names), f"{path} imports a script"


def test_modules_of_a_folder_do_not_import_each_other_in_a_circle():
    graph = {module_name(path): imported_names(path) for path in INSIDE}
    tuple(graphlib.TopologicalSorter({name: edges & graph.keys() for name, edges in graph.items()}).static_order())


@pytest.mark.parametrize("path", SOURCES, ids=module_name)
def test_only_the_five_run_time_packages_are_imported_at_the_top(path):
    packages = {name.split(".")[0] for name in imported_names(path, top_level_only=True)}
    assert packages - sys.stdlib_module_names - {"electra", "__future__"} <= RUN_TIME_PACKAGES


def test_the_top_level_holds_what_the_card_names_and_dot_files():
    listing = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    visible = {name.split("/")[0] for name in listing.split("\n") if name and not name.startswith(".")}
    assert visible <= {"setup.py", "README.md", "electra", "train_pretrain.py", "train_glue.py", "tests"}


WITHOUT_TORCH = "data.prepare data.corpus data.shards data.windows tokenizer.byte_level glue.files scores.metrics"


@pytest.mark.parametrize("module", [*WITHOUT_TORCH.split(), "scores.statistics"])
def test_data_modules_never_load_torch(module):
    code = f"import sys, electra.{module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_importing_the_package_prints_nothing_and_loads_nothing_heavy():
    code = "import sys, electra; sys.exit(any(name in sys.modules for name in ('torch', 'numpy', 'scipy')))"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=False)
    assert (result.returncode, result.stdout, result.stderr) == (0, b"", b"")


def test_importing_every_module_prints_nothing_and_draws_no_random_number():
    names = ", ".join(module_name(path) for path in INSIDE)
    code = (
        "import random, torch, numpy\n"
        "def states(): return random.getstate(), torch.random.get_rng_state().tolist(), str(numpy.random.get_state())\n"
        f"before = states()\nimport {names}, train_pretrain, train_glue\nassert states() == before"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=False)
    assert (result.returncode, result.stdout, result.stderr) == (0, b"", b"")


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_only_cli_ranks_and_devices_touch_the_environment_and_only_main_reads_argv(path):
    source = path.read_text()
    assert path.stem in ("cli", "ranks", "devices") or "os.environ" not in source
    assert path.stem == "__main__" or not re.search(r"sys\.argv", source)


@pytest.mark.parametrize("config_class", [EncoderConfig, PretrainConfig, FinetuneConfig])
def test_every_setting_is_read_somewhere(config_class):
    sources = "".join(path.read_text() for path in SOURCES if path.stem != "config")
    names = [field.name for field in dataclasses.fields(config_class)]
    unread = [name for name in names if not re.search(rf"\b(config|shape|self)\.{name}\b", sources)]
    assert not unread
