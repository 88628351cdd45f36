"""Ctrl-C while a script still imports ends in one line; scripts import this module before anything that takes time.

The process ends where it is, since an exception may get lost there: torch swallows it and goes on with half of NumPy.
"""

import contextlib
import os
import signal
import sys
from pathlib import Path
from types import FrameType


def _leave(number: int, frame: FrameType | None) -> None:
    with contextlib.suppress(OSError):  # standard error may be closed
        os.write(2, b"error: interrupted; the same command goes on\n")
    os._exit(130)


def loaded() -> None:
    """From here on Ctrl-C is a KeyboardInterrupt again."""
    if signal.getsignal(signal.SIGINT) is _leave:
        signal.signal(signal.SIGINT, signal.default_int_handler)


_SCRIPT = Path(getattr(sys.modules["__main__"], "__file__", None) or "none").resolve()
_OURS = Path(__file__).parent
if _SCRIPT.parent in (_OURS, _OURS.parent) and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, _leave)
