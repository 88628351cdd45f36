"""Ctrl-C while a script still imports ends in one line; scripts import this module before anything that takes time."""

import sys
from types import TracebackType


def _on_uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        print("error: interrupted; the same command goes on", file=sys.stderr)
        sys.exit(130)
    sys.__excepthook__(kind, error, trace)


sys.excepthook = _on_uncaught
