"""The documentation pages and their commands."""

from __future__ import annotations

import re
import subprocess

from tests.conftest import ROOT

PAGES = {
    name: (ROOT / name).read_text()
    for name in ("README.md", "electra/README.md", "tests/README.md", ".records/README.md", ".records/LOG.md")
}
"""Path from the root -> text."""

_ECHO = "PATH=\n" + "\n".join(
    f'{name}() {{ printf {name}; printf " %q" "$@"; echo; }}' for name in ("python", "pip", "pytest", "torchrun")
)


def commands(page: str) -> list[str]:
    """The commands in a page's ```bash blocks, one a line, as a shell expands them; nothing is run.

    A block is given to bash with every program replaced by a function that prints its words. Loops, variables and
    comments mean what they mean in a shell, and any other program fails, since the search path is empty.
    """
    blocks = re.findall(r"^```bash\n(.*?)^```", PAGES[page], re.M | re.S)
    words = ["bash", "-euc", "\n".join([_ECHO, *blocks])]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.splitlines()
