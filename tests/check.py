"""`python -m tests.check`: format, lint, types, and every test that needs no GPU. Stops at the first that fails."""

from __future__ import annotations

import subprocess
import sys

STEPS = (
    ("format", ["ruff", "format", "--check", "."]),
    ("lint", ["ruff", "check", "."]),
    ("types", ["mypy"]),
    ("slow tests", ["pytest", "-q", "-m", "slow and not gpu"]),
    ("tests", ["pytest"]),
)


def main() -> int:
    """Run the steps in order; returns the first exit code that is not 0."""
    for name, command in STEPS:
        print(f"== {name}: {' '.join(command)}", flush=True)
        code = subprocess.run([sys.executable, "-m", *command], check=False).returncode
        if code:
            print(f"{name} failed with exit code {code}", file=sys.stderr)
            return code
    return 0


if __name__ == "__main__":
    sys.exit(main())
