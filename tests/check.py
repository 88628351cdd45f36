"""`python -m tests.check`: format, lint, types, and every test that needs no GPU. Stops at the first that fails."""

import subprocess
import sys

STEPS = {
    "format": ["ruff", "format", "--check", "."],
    "lint": ["ruff", "check", "."],
    "types": ["mypy"],
    "slow tests": ["pytest", "-q", "-m", "slow and not gpu"],
}


def run(name: str) -> int:
    """Run a step; returns its exit code."""
    print(f"== {name}: {' '.join(STEPS[name])}", flush=True)
    return subprocess.run([sys.executable, "-m", *STEPS[name]], check=False).returncode


def main() -> int:
    """Run the steps in order, the other tests beside the slow ones; returns the first exit code that is not 0."""
    if code := run("format") or run("lint") or run("types"):
        return code
    with subprocess.Popen([sys.executable, "-m", "pytest"], stdout=subprocess.PIPE, text=True) as others:
        code = run("slow tests")
        print(others.communicate()[0])
    return code or others.returncode


if __name__ == "__main__":
    sys.exit(main())
