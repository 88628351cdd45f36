"""Text that comes with every CPython installation: its documentation."""

from __future__ import annotations

import ast
import sysconfig
import warnings
from collections.abc import Iterator
from pathlib import Path


def standard_library_documents() -> Iterator[str]:
    """Yield the demo's documents: the `pydoc_data` topics, then the docstrings of each module, one document a module.

    Tests and installed packages are left out. There are about 650 documents (2.2 MB, read in 2.5 s). The documents
    differ a little between Python versions.
    """
    from pydoc_data.topics import topics

    yield from (text for _, text in sorted(topics.items()))
    root = Path(sysconfig.get_paths()["stdlib"])
    left_out = {"test", "tests", "idle_test", "site-packages", "dist-packages", "lib2to3"}
    for path in sorted(root.rglob("*.py")):
        if left_out.isdisjoint(path.relative_to(root).parts) and (text := _docstrings(path)):
            yield text


def _docstrings(path: Path) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # do not show warnings about invalid escapes in the library's code
        tree = ast.parse(path.read_bytes())
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    found = (ast.get_docstring(node) for node in ast.walk(tree) if isinstance(node, documented))
    return "\n\n".join(text for text in found if text)
