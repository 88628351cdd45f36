"""`python -m tests.check`: format, lint, types, and every test that needs no GPU. Stops at the first that fails."""

import subprocess
import sys

STEPS = {
    "format": ["ruff", "format", "--check", "."],
    "lint": ["ruff", "check", "."],
    "types": ["mypy"],
    "tests": ["pytest", "-q", "-n", "2", "--dist", "worksteal", "-m", "not gpu"],
}


def main() -> int:
    """Run the steps in order; returns the first exit code that is not 0."""
    for name, words in STEPS.items():
        print(f"== {name}: {' '.join(words)}", flush=True)
        if code := subprocess.run([sys.executable, "-m", *words], check=False).returncode:
            return code
    return 0


if __name__ == "__main__":
    sys.exit(main())
