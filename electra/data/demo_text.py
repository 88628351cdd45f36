"""Text that comes with every CPython installation: the prose of its documentation."""

from __future__ import annotations

import ast
import re
import sysconfig
import warnings
from collections.abc import Iterator
from pathlib import Path

_PROSE = re.compile(r"""[A-Z][\w ,.;:!?()'"`*/=<>+\[\]%#@&-]{30,}[.:!?]""")


def standard_library_documents() -> Iterator[str]:
    """Yield the demo's documents: the `pydoc_data` topics, then the docstrings of each module, one document a module.

    Only paragraphs of prose are kept; tests and installed packages are left out. There are about 620 documents
    (1.4 MB). They differ a little between Python versions.
    """
    from pydoc_data.topics import topics

    yield from filter(None, (prose(text) for _, text in sorted(topics.items())))
    root = Path(sysconfig.get_paths()["stdlib"])
    left_out = {"test", "tests", "idle_test", "site-packages", "dist-packages", "lib2to3"}
    for path in sorted(root.rglob("*.py")):
        if left_out.isdisjoint(path.relative_to(root).parts) and (text := prose(_docstrings(path))):
            yield text


def prose(text: str) -> str:
    """Return the paragraphs of a text that look like English sentences: no code, tables or signatures."""
    paragraphs = (" ".join(part.split()) for part in re.split(r"\n\s*\n", text))
    return " ".join(part for part in paragraphs if _PROSE.fullmatch(part))


def _docstrings(path: Path) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # do not show warnings about invalid escapes in the library's code
        tree = ast.parse(path.read_bytes())
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    found = (ast.get_docstring(node) for node in ast.walk(tree) if isinstance(node, documented))
    return "\n\n".join(text for text in found if text)
