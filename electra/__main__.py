"""Run `python -m electra <command>`; this module has the table of commands."""

from __future__ import annotations

from electra import interrupts  # imported first, so that Ctrl-C during the other imports ends the script

# isort: split

import importlib
import sys

from electra import cli

COMMANDS = {
    "prepare": ("data.prepare", "main", "text -> tokenizer and token shards"),
    "glue": ("glue.command", "main", "download GLUE, make a submission"),
    "detect": ("inference.command", "main_detect", "which tokens of a text look replaced"),
    "predict": ("inference.command", "main_predict", "a fine-tuned model on new text"),
    "cost": ("report.cost", "main", "parameters, FLOPs, pfs-days, hours and memory of a run"),
    "report": ("report.page", "main", "runs and results -> every table and figure of the report"),
    "export": ("hub.folders", "main_export", "a checkpoint -> folders that transformers opens"),
    "settings": ("config", "main", "every setting with its default, range and source"),
    "import": ("hub.folders", "main_import", "folders of transformers -> a checkpoint"),
}


def main() -> int | None:
    """Run the command that `sys.argv` names with the remaining arguments; return its exit code."""
    name = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if name in ("-h", "--help"):
        print("usage: python -m electra COMMAND ... (each has its own --help)")
        print("\n".join(f"  {command:<10}{what}" for command, (_, _, what) in COMMANDS.items()))
        return 0
    if name not in COMMANDS:
        raise ValueError(f"{name!r} is no command; python -m electra --help lists the commands")
    module, function, _ = COMMANDS[name]
    command = getattr(importlib.import_module(f"electra.{module}"), function)
    interrupts.loaded()
    code: int | None = command(sys.argv[2:])
    return code


if __name__ == "__main__":
    cli.run(main, needs_output=True)
