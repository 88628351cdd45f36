"""Settings as flags and as saved JSON; printing; running a script, with a user's mistake reported in one line."""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import errno
import io
import math
import os
import re
import shutil
import sys
import traceback
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from electra.files import FormatError

Config = TypeVar("Config")

EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 130
EXIT_NO_OUTPUT = 141  # a command cannot write its output: 128 + SIGPIPE
MAX_MESSAGE = 1000  # characters


def setting(
    default: Any,
    help: str,
    *,
    low: float = -math.inf,
    high: float = math.inf,
    choices: tuple[str, ...] = (),
    unit: str = "",
    source: str = "",
    free: bool = False,
    flag: bool = True,
    renamed: Mapping[str, str] | None = None,
) -> Any:
    """Declare one field of a settings dataclass.

    Args:
        low, high: range of a number, or of each number of a tuple; both ends are allowed.
        choices: the allowed values of a `str` field; empty allows any.
        source: where the default comes from (table, section, release file).
        free: True if a run may be resumed with another value, because the results do not depend on the setting.
        flag: False for a derived value, which gets no flag.
        renamed: {former name of a value: present name}; saved settings and flags may still have the former name.
    """
    facts = {"help": help, "low": low, "high": high, "choices": choices, "unit": unit, "source": source}
    return dataclasses.field(default=default, metadata={**facts, "free": free, "flag": flag, "renamed": renamed or {}})


def flag_name(name: str) -> str:
    """Return the flag of a setting: `learning_rate` -> `--learning-rate`."""
    return "--" + name.replace("_", "-")


def _expected(field: dataclasses.Field[Any], kind: str) -> str:
    facts = field.metadata
    if facts["choices"]:
        return "one of " + ", ".join(facts["choices"])
    bounds = [f">= {facts['low']:.7g}"] * (facts["low"] > -math.inf)
    bounds += [f"<= {facts['high']:.7g}"] * (facts["high"] < math.inf)
    return " ".join([kind, " and ".join(bounds)]).strip()


def _is_valid(value: Any, kind: Any, facts: Mapping[str, Any]) -> bool:
    if type(value) is not kind and not (kind is float and type(value) is int):
        return False
    if kind is str:
        return not facts["choices"] or value in facts["choices"]
    fits = type(value) is float or abs(value) < 1 << 63
    return bool(fits and facts["low"] <= value <= facts["high"])  # False for NaN too


def check_settings(config: Any) -> None:
    """Check type and range of every setting (called by a config's `__post_init__`); a ValueError names the flag."""
    kinds = typing.get_type_hints(type(config))
    for field in dataclasses.fields(config):
        value, kind = getattr(config, field.name), kinds[field.name]
        is_tuple = typing.get_origin(kind) is tuple
        kind = typing.get_args(kind)[0] if is_tuple else kind
        values = value if is_tuple else (value,)
        if type(values) is not tuple or not all(_is_valid(v, kind, field.metadata) for v in values):
            expected = _expected(field, f"{'comma-separated ' * is_tuple}{kind.__name__}")
            raise ValueError(f"{flag_name(field.name)}: expected {expected}, found {value!r}; give another value")


class Parser(argparse.ArgumentParser):
    """An argument parser that reports an error in one line and suggests the nearest flag for a mistyped one."""

    def __init__(self, prog: str, description: str = "") -> None:
        super().__init__(prog, description=description, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        """Print `message` on one line and exit with code 2."""
        for word in message.removeprefix("unrecognized arguments: ").split():
            near = difflib.get_close_matches(word, [*self._option_string_actions], n=1)
            if word.startswith("--") and near and near[0] != word.rstrip(":"):
                message += f"; did you mean {near[0]}?"
        fail(f"{self.prog}: {message} (--help lists the flags)", EXIT_USER_ERROR)


def _floats(text: str) -> tuple[float, ...]:
    return tuple(float(part) for part in text.split(",") if part)


def add_settings(parser: argparse.ArgumentParser, config_class: type[Any], title: str) -> None:
    """Add a flag for each setting of a dataclass; the parsed result has only the flags that were given."""
    group = parser.add_argument_group(title)
    kinds = typing.get_type_hints(config_class)
    for field in dataclasses.fields(config_class):
        facts, kind = field.metadata, kinds[field.name]
        if not facts["flag"]:
            continue
        extra = [facts["unit"], f"default {field.default!r}", ", ".join(facts["choices"]), facts["source"]]
        options: dict[str, Any] = {"help": f"{facts['help']} ({'; '.join(filter(None, extra))})".replace("%", "%%")}
        if kind is bool:
            options["action"] = argparse.BooleanOptionalAction
        else:
            options["type"] = _floats if typing.get_origin(kind) is tuple else kind
            options["metavar"] = {int: "N", float: "X"}.get(kind, field.name.split("_")[-1].upper())
        group.add_argument(flag_name(field.name), default=argparse.SUPPRESS, **options)


def settings_table(config_class: type[Any]) -> str:
    """Return the settings of a dataclass as a Markdown table."""
    lines = ["| setting | default | unit | what it is | range | source |", "|---|---|---|---|---|---|"]
    for field in dataclasses.fields(config_class):
        facts = field.metadata
        cells = [f"`{flag_name(field.name)}`", f"`{field.default!r}`", facts["unit"], facts["help"]]
        lines.append("| " + " | ".join([*cells, _expected(field, ""), facts["source"]]) + " |")
    return "\n".join(lines)


def build(config_class: type[Config], *layers: Mapping[str, Any]) -> Config:
    """Make a config from layers of values: later layers override earlier ones; keys that name no field are ignored."""
    facts = {field.name: field.metadata for field in dataclasses.fields(config_class)}  # type: ignore[arg-type]
    given = [(name, value) for layer in layers for name, value in layer.items() if name in facts]
    return config_class(**{name: facts[name]["renamed"].get(str(value), value) for name, value in given})


def from_dict(config_class: type[Config], values: Mapping[str, Any], file: Path, *, is_partial: bool = False) -> Config:
    """Rebuild a config that was saved as JSON in a file; raises FormatError if a value is not allowed.

    Missing or unknown settings are errors. With `is_partial`, missing settings get defaults; unknown ones are ignored.
    """
    names = {field.name for field in dataclasses.fields(config_class)}  # type: ignore[arg-type]
    if not is_partial and (wrong := sorted(names ^ set(values))):
        problem = f"settings of {config_class.__name__} are missing or unknown: {', '.join(wrong)}"
        raise FormatError(f"{file}: {problem}; use the version of this package that wrote the file")
    try:
        return build(config_class, {key: tuple(v) if isinstance(v, list) else v for key, v in values.items()})
    except ValueError as error:
        raise FormatError(f"{file}: {error}") from None


def differences(saved: Any, asked: Any) -> list[str]:
    """Return a phrase for each difference of two mappings or two configs of one class; free settings are left out."""
    if dataclasses.is_dataclass(saved):
        names = [field.name for field in dataclasses.fields(saved) if not field.metadata["free"]]
        pairs = {name: (getattr(saved, name), getattr(asked, name)) for name in names}
    else:
        pairs = {name: (saved.get(name), asked.get(name)) for name in sorted({*saved, *asked})}
    return [f"{name} is {old!r}, asked for {new!r}" for name, (old, new) in pairs.items() if old != new]


# --- output, errors, Ctrl-C ----------------------------------------------------------------------------------


_UNSAFE = re.compile("[\0-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    """Return text that is safe in a terminal: control characters, line ends, bidi marks become escapes like \\x1b."""
    return _UNSAFE.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def is_colored() -> bool:
    """Whether to print colors: standard output is a terminal with colors, and NO_COLOR is not set (no-color.org)."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def line_width() -> int:
    """Return the width of the terminal on standard output, in characters; 100 without a terminal."""
    return shutil.get_terminal_size((100, 24)).columns if sys.stdout.isatty() else 100


class _Output(io.TextIOWrapper):
    """Standard output or error that tolerates a closed pipe or full disk, and escapes what its encoding cannot write.

    After a failed write a training script goes on without this output; a command, whose purpose is its output, ends.
    """

    is_required = False
    replaced: io.TextIOWrapper

    def write(self, text: str) -> int:
        return self._attempt(super().write, text) or 0

    def flush(self) -> None:
        self._attempt(super().flush)

    def _attempt(self, call: Callable[..., Any], *arguments: str) -> Any:
        try:
            return call(*arguments)
        except OSError as error:
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.fileno())
            if self.is_required and isinstance(error, BrokenPipeError):
                sys.exit(EXIT_NO_OUTPUT)
            if self.is_required:
                error.filename = "standard output"
                raise
            if self is sys.stdout:
                print(f"WARNING: standard output: {error.strerror}; going on without it", file=sys.stderr)


def _open_outputs(needs_output: bool) -> None:
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed by the shell; the next file to be opened would become standard output
            setattr(sys, name, open(os.devnull, "w", errors="backslashreplace"))  # noqa: SIM115
        elif type(stream) is io.TextIOWrapper:
            how = stream.encoding, "backslashreplace", None, stream.line_buffering, stream.write_through
            output = _Output(stream.buffer, *how)
            output.is_required = needs_output and name == "stdout"
            output.replaced = stream  # kept: the old stream would close the shared buffer when deleted
            setattr(sys, name, output)


def _is_ours(frame: traceback.FrameSummary) -> bool:
    file, package = Path(frame.filename).resolve(), Path(__file__).resolve().parent
    return package in file.parents or file.parent == package.parent


_REMEDIES = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), "free some space; the same command goes on"),
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), "choose a path that you may write to"),
    **dict.fromkeys((errno.EEXIST, errno.ENOTDIR), "a file is where a folder should be, choose another path"),
}


def _message_of(error: Exception) -> str | None:
    """Return the line that explains an error to the user; None for a bug, which is shown with its traceback."""
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{error.filename}: {error.strerror}; {_REMEDIES.get(error.errno or 0, 'check the path')}"
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if _is_ours(frame)][-1]
    is_raised_here = frames[-1] is ours
    if isinstance(error, FormatError) or (is_raised_here and (ours.line or "raise").startswith("raise")):
        return str(error)
    if is_raised_here or isinstance(error, OSError | EOFError | UnicodeError):  # Python's message names no file
        return f"{type(error).__name__} at {ours.filename}:{ours.lineno}: {error}; check the files and settings"
    return None


def fail(message: str, code: int) -> NoReturn:
    """Print one line on standard error, at most `MAX_MESSAGE` characters long, and exit."""
    text = printable(" ".join(message.split()))
    text = text if len(text) <= MAX_MESSAGE else f"{text[: MAX_MESSAGE - 300]} ... {text[-300:]}"
    print(f"error: {text}", file=sys.stderr)
    sys.exit(code)


def run(main: Callable[[], int | None], *, needs_output: bool = False) -> NoReturn:
    """Call `main` and exit with its code; a user's mistake ends in one line on stderr, without a traceback.

    A mistake is an OSError, or a ValueError or FloatingPointError that this package raises. With `needs_output`, the
    process ends when standard output cannot be written; otherwise the process goes on without output.
    """
    _open_outputs(needs_output)
    try:
        code = main()
        sys.stdout.flush()
        sys.exit(code)
    except KeyboardInterrupt:
        fail("interrupted; the same command goes on", EXIT_INTERRUPTED)
    except (ValueError, FloatingPointError, OSError, EOFError) as error:
        message = _message_of(error)
        if message is None:
            raise
        fail(message, EXIT_USER_ERROR)
