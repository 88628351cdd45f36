"""Settings and scripts: a setting is declared once and becomes a flag; a script ends in one line whatever happens."""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import errno
import io
import lzma
import math
import os
import re
import shutil
import sys
import tarfile
import traceback
import typing
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn, TextIO, TypeVar

from electra.files import FormatError

Config = TypeVar("Config")

EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 130
EXIT_NO_READER = 141  # of a command whose output nobody reads any more: 128 + SIGPIPE
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
        default: the value when neither a preset nor a flag gives one; for `tuple` fields, a tuple.
        low, high: inclusive range of a number, or of each number of a tuple.
        choices: the allowed words of a `str` field; empty allows any.
        unit: what one of it is ("tokens", "updates", "hours").
        source: where the value comes from (table, section, release file).
        free: True if a run may be resumed with another value (it does not change the numbers).
        flag: False if the value is derived and no flag is made.
        renamed: {a value's former name: its name}; saved settings and flags may still use the former one.
    """
    facts = {"renamed": renamed or {}, "low": low, "high": high, "choices": choices, "unit": unit, "source": source}
    return dataclasses.field(default=default, metadata={"help": help, "free": free, "flag": flag, **facts})


def flag_name(name: str) -> str:
    """`learning_rate` -> `--learning-rate`."""
    return "--" + name.replace("_", "-")


def _expected(field: dataclasses.Field[Any], kind: str) -> str:
    facts = field.metadata
    if facts["choices"]:
        return "one of " + ", ".join(facts["choices"])
    bounds = [f">= {facts['low']:g}"] * (facts["low"] > -math.inf)
    bounds += [f"<= {facts['high']:g}"] * (facts["high"] < math.inf)
    return " ".join([kind, " and ".join(bounds)]).strip()


def _is_valid(value: Any, kind: Any, facts: Mapping[str, Any]) -> bool:
    if type(value) is not kind and not (kind is float and type(value) is int):
        return False
    if kind is str:
        return not facts["choices"] or value in facts["choices"]
    fits = type(value) is float or abs(value) < 1 << 63
    return bool(fits and facts["low"] <= value <= facts["high"])  # False for NaN too


def check_settings(config: Any) -> None:
    """Refuse a value of the wrong type or outside its range; called by each config's `__post_init__`.

    Raises:
        ValueError: names the flag, what was expected and what was found.
    """
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
    """An argument parser whose errors are one line on stderr; for a mistyped flag the line names the nearest flag."""

    def __init__(self, prog: str, description: str = "") -> None:
        super().__init__(prog, description=description, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        """Print `message` on one line and exit with code 2."""
        for word in message.removeprefix("unrecognized arguments: ").split():
            near = difflib.get_close_matches(word, [*self._option_string_actions], n=1)
            if word.startswith("--") and near and near[0] != word:
                message += f"; did you mean {near[0]}?"
        fail(f"{self.prog}: {message} (--help lists what there is)", EXIT_USER_ERROR)


def _tuple_of(kind: Callable[[str], Any]) -> Callable[[str], tuple[Any, ...]]:
    def parse(text: str) -> tuple[Any, ...]:
        return tuple(kind(part) for part in text.split(",") if part)

    parse.__name__ = f"comma-separated {kind.__name__}"
    return parse


def add_settings(
    parser: argparse.ArgumentParser, config_class: type[Any], title: str, only: tuple[str, ...] = ()
) -> None:
    """Add one flag for each setting of `config_class`; the result has no entry for a flag that is not given.

    Args:
        only: names of the settings to add; empty means all.
    """
    group = parser.add_argument_group(title)
    kinds = typing.get_type_hints(config_class)
    for field in dataclasses.fields(config_class):
        if not field.metadata["flag"] or (only and field.name not in only):
            continue
        facts = field.metadata
        extra = [facts["unit"], f"default {field.default!r}", ", ".join(facts["choices"]), facts["source"]]
        options: dict[str, Any] = {"help": f"{facts['help']} ({'; '.join(filter(None, extra))})".replace("%", "%%")}
        kind = kinds[field.name]
        if kind is bool:
            options["action"] = argparse.BooleanOptionalAction
        else:
            is_tuple = typing.get_origin(kind) is tuple
            options["type"] = _tuple_of(typing.get_args(kind)[0]) if is_tuple else kind
            options["metavar"] = {int: "N", float: "X"}.get(kind, field.name.split("_")[-1].upper())
        group.add_argument(flag_name(field.name), default=argparse.SUPPRESS, **options)


def settings_table(config_class: type[Any]) -> str:
    """The settings of a dataclass as a Markdown table: flag, default, unit, range, meaning, source."""
    lines = ["| setting | default | what it is | range | source |", "|---|---|---|---|---|"]
    for field in dataclasses.fields(config_class):
        facts = field.metadata
        kind = "" if facts["choices"] else _expected(field, "").removeprefix("and ")
        default = f"{field.default:,}" if type(field.default) is int else f"`{field.default}`"
        default = "none" if field.default == "" else default
        cells = [f"`{flag_name(field.name)}`", f"{default} {facts['unit']}".strip(), facts["help"]]
        cells += [", ".join(choice or "none" for choice in facts["choices"]) or kind, facts["source"]]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def build(config_class: type[Config], *layers: Mapping[str, Any]) -> Config:
    """Make a config from layers of values; later layers win, keys that are no setting of the class are ignored."""
    facts = {field.name: field.metadata for field in dataclasses.fields(config_class)}  # type: ignore[arg-type]
    values = {name: value for layer in layers for name, value in layer.items() if name in facts}
    former = {name: facts[name]["renamed"] for name in values if facts[name]["renamed"]}
    return config_class(**values | {name: names.get(str(values[name]), values[name]) for name, names in former.items()})


def from_dict(
    config_class: type[Config], values: Mapping[str, Any], where: Path, *, is_partial: bool = False
) -> Config:
    """Rebuild a config that was saved as JSON, strictly.

    Args:
        is_partial: settings may be missing, and have their defaults, or unknown, and are ignored.

    Raises:
        FormatError: a setting is unknown, missing or impossible; the file `where` is named.
    """
    names = {field.name for field in dataclasses.fields(config_class)}  # type: ignore[arg-type]
    if not isinstance(values, Mapping):
        raise FormatError(f"{where}: expected settings ({config_class.__name__}), found {values!r:.40}; restore it")
    if not is_partial and (wrong := sorted(names ^ set(values))):
        message = f"expected exactly the settings of {config_class.__name__}, found a difference in {', '.join(wrong)}"
        raise FormatError(f"{where}: {message}; use the version of this package that wrote it")
    try:
        return build(config_class, {key: tuple(v) if isinstance(v, list) else v for key, v in values.items()})
    except ValueError as error:
        raise FormatError(f"{where}: {error}") from None


def differences(saved: Any, asked: Any) -> list[str]:
    """One phrase for each value in which two mappings differ, or two configs of a class, but for free settings."""
    if dataclasses.is_dataclass(saved):
        names = [field.name for field in dataclasses.fields(saved) if not field.metadata["free"]]
        pairs = {name: (getattr(saved, name), getattr(asked, name)) for name in names}
    else:
        pairs = {name: (saved.get(name), asked.get(name)) for name in sorted({*saved, *asked})}
    return [f"{name} is {old!r}, asked for {new!r}" for name, (old, new) in pairs.items() if old != new]


# --- what a person sees: output, errors, Ctrl-C --------------------------------------------------------------


_UNSAFE = re.compile("[\0-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    """Text that cannot steer a terminal: control characters, line ends and bidi overrides as escapes like \\x1b."""
    return _UNSAFE.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def is_colored() -> bool:
    """Whether standard output may hold colors: a terminal that knows them, without NO_COLOR (no-color.org)."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def line_width() -> int:
    """Columns of the terminal on standard output; 100 where there is none."""
    return shutil.get_terminal_size((100, 24)).columns if sys.stdout.isatty() else 100


class _Output(io.TextIOWrapper):
    """Standard output or error whose failure never ends a run in a traceback.

    What the encoding lacks is written as an escape. When the reader is gone or the disk of a log is full, a script
    goes on without this output; a command, whose output is its purpose, ends as Unix tools do.
    """

    is_optional = True
    replaced: TextIO

    def write(self, text: str) -> int:
        return self._attempt(super().write, text) or 0

    def flush(self) -> None:
        self._attempt(super().flush)

    def _attempt(self, call: Callable[..., Any], *arguments: str) -> Any:
        try:
            return call(*arguments)
        except OSError as error:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.fileno())
            os.close(nowhere)
            if not self.is_optional:
                sys.exit(EXIT_NO_READER)
            if self is sys.stdout:
                print(f"WARNING: standard output: {error.strerror}; going on without it", file=sys.stderr)


def _open_outputs(is_optional: bool) -> None:
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed by the shell: the next file to be opened would take its number
            setattr(sys, name, open(os.devnull, "w", errors="backslashreplace"))  # noqa: SIM115
        elif type(stream) is io.TextIOWrapper:
            how: dict[str, Any] = {"line_buffering": stream.line_buffering, "write_through": stream.write_through}
            output = _Output(stream.buffer, stream.encoding, "backslashreplace", **how)
            output.is_optional = is_optional or name == "stderr"
            output.replaced = stream  # while it lives it does not close the buffer that both share
            setattr(sys, name, output)


_NO_SPACE = "free some space; the same command goes on"
_REMEDIES = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), _NO_SPACE),
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), "choose a path that you may write to"),
    **dict.fromkeys((errno.EEXIST, errno.ENOTDIR), "a file stands where a folder is wanted: choose another path"),
    errno.EMFILE: "raise the limit on open files (ulimit -n)",
    errno.EIO: "check the disk",
}
_DATA_ERRORS = (OSError, UnicodeError, EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, tarfile.TarError)


def _explained(error: Exception) -> str | None:
    """The line that tells a person of an error; None for a bug, which keeps its traceback."""
    remedy = _REMEDIES.get(getattr(error, "errno", 0), "check the path")
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{error.filename}: {error.strerror}; {remedy}"
    frames = traceback.extract_tb(error.__traceback__)
    *_, ours = (frame for frame in frames if _is_ours(Path(frame.filename).resolve()))
    is_inside = frames[-1] is ours
    if isinstance(error, FormatError) or (is_inside and (ours.line or "raise").startswith("raise")):
        return str(error)
    if is_inside or isinstance(error, _DATA_ERRORS):  # Python's words: they name neither file nor setting
        place = f"{type(error).__name__} at {ours.filename}:{ours.lineno}"
        return f"{place}: {error}; {remedy} or the data read there"
    return None


def _is_ours(file: Path) -> bool:
    here = Path(__file__).resolve().parent
    return here in file.parents or file.parent == here.parent


def fail(message: str, code: int) -> NoReturn:
    """Print one line on standard error, at most about a screen long, and exit."""
    text = printable(" ".join(message.split()))
    text = text if len(text) <= MAX_MESSAGE else f"{text[: MAX_MESSAGE - 300]} ... {text[-300:]}"
    print(f"error: {text}", file=sys.stderr)
    sys.exit(code)


def run(main: Callable[[], int | None], *, needs_output: bool = False) -> NoReturn:
    """Call `main` and exit with its code; a user's mistake ends in one line on stderr, never a traceback.

    A mistake is an OSError, an error in the data that a library reads, or a ValueError or FloatingPointError that this
    package raised itself.

    Args:
        needs_output: end with standard output's reader, as a command that only prints does; a script goes on.
    """
    _open_outputs(is_optional=not needs_output)
    try:
        code = main()
        sys.stdout.flush()
        sys.exit(code)
    except KeyboardInterrupt:
        fail("interrupted; the same command goes on", EXIT_INTERRUPTED)
    except (ValueError, FloatingPointError, *_DATA_ERRORS) as error:
        message = _explained(error)
        if message is None:
            raise
        fail(message, EXIT_USER_ERROR)
