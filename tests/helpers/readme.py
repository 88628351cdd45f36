"""The documentation pages and their commands."""

from __future__ import annotations

import re
import subprocess

from tests.conftest import ROOT

PAGE_NAMES = ("README.md", "electra/README.md", "tests/README.md", ".records/README.md", ".records/LOG.md")
PAGES = {name: (ROOT / name).read_text() for name in (*PAGE_NAMES, ".records/mini.sh")}
"""Path from the root -> text."""

_ECHO = "PATH=\n" + "\n".join(
    f"""{name}() {{ echo "{name}$(printf ' %q' "$@")"; }}""" for name in ("python", "pip", "pytest", "torchrun")
)


def commands(page: str) -> list[str]:
    """The commands in a page's ```bash blocks or of a script, one a line, as a shell expands them; nothing is run.

    A block is given to bash with every program replaced by a function that prints its words. Loops, variables and
    comments mean what they mean in a shell, and any other program fails, since the search path is empty.
    """
    blocks = [PAGES[page]] if page.endswith(".sh") else re.findall(r"^```bash\n(.*?)^```", PAGES[page], re.M | re.S)
    words = ["bash", "-euc", "\n".join([_ECHO, *blocks]), page, "text/", "glue_data/", "probes/"]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.splitlines()
