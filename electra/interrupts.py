"""Make Ctrl-C end a script at once during its imports: torch's imports may swallow a KeyboardInterrupt and go on.

The scripts import this module first, and call `loaded` when all imports are done.
"""

import signal
import sys
from pathlib import Path

_SCRIPT = Path(getattr(sys.modules["__main__"], "__file__", None) or "none").resolve()
_IS_OURS = _SCRIPT.parent in (Path(__file__).parent, Path(__file__).parent.parent)
if _IS_OURS and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def loaded() -> None:
    """Make Ctrl-C raise KeyboardInterrupt again, after all imports."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)
