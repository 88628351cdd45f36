"""Dataclass -> flags -> dataclass: a setting is declared once, with its range, unit and source."""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import math
import sys
import traceback
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn, TypeVar

Config = TypeVar("Config")

EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 130


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


def _is_valid(value: Any, kind: type, facts: Mapping[str, Any]) -> bool:
    if kind is float and type(value) is int:
        value = float(value)
    if type(value) is not kind:
        return False
    if kind is str:
        return not facts["choices"] or value in facts["choices"]
    return bool(facts["low"] <= value <= facts["high"])  # False for NaN too


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
    """An argument parser whose errors are one line on stderr, with the nearest flag where one is near."""

    def __init__(self, prog: str, description: str = "") -> None:
        super().__init__(prog, description=description, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        """Print `message` on one line and exit with code 2."""
        for word in message.removeprefix("unrecognized arguments: ").split():
            near = difflib.get_close_matches(word, [*self._option_string_actions], n=1)
            if word.startswith("--") and near and near[0] != word:
                message += f"; did you mean {near[0]}?"
        self.exit(EXIT_USER_ERROR, f"error: {self.prog}: {message} (--help lists what there is)\n")


def _tuple_of(kind: Callable[[str], Any]) -> Callable[[str], tuple[Any, ...]]:
    def parse(text: str) -> tuple[Any, ...]:
        return tuple(kind(part) for part in text.split(",") if part)

    parse.__name__ = f"comma-separated {kind.__name__}"
    return parse


def add_settings(
    parser: argparse.ArgumentParser, config_class: type[Any], title: str, only: tuple[str, ...] = ()
) -> None:
    """Add one flag for each setting of `config_class`; a flag that is not given leaves no trace.

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
            options["metavar"] = field.name.split("_")[-1].upper()
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
    """Make a config from layers of values, later ones winning; keys of other classes are passed over."""
    facts = {field.name: field.metadata for field in dataclasses.fields(config_class)}  # type: ignore[arg-type]
    values = {name: value for layer in layers for name, value in layer.items() if name in facts}
    former = {name: facts[name]["renamed"] for name in values if facts[name]["renamed"]}
    return config_class(**values | {name: names.get(values[name], values[name]) for name, names in former.items()})


def from_dict(config_class: type[Config], values: Mapping[str, Any], where: Path) -> Config:
    """Rebuild a config that was saved as JSON, strictly.

    Raises:
        ValueError: a key is unknown or missing, or a value is impossible; `where` is named.
    """
    names = {field.name for field in dataclasses.fields(config_class)}  # type: ignore[arg-type]
    wrong = sorted(names ^ set(values))
    if wrong:
        raise ValueError(f"{where}: expected exactly the settings of {config_class.__name__}, found a difference "
                         f"in {', '.join(wrong)}; use the version of this package that wrote it")  # fmt: skip
    as_tuples = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
    return build(config_class, as_tuples)


def differences(saved: Any, asked: Any, *, with_free: bool = False) -> list[str]:
    """One phrase for each setting in which two configs of a class differ, free settings left out by default."""
    return [
        f"{field.name} is {getattr(saved, field.name)!r}, asked for {getattr(asked, field.name)!r}"
        for field in dataclasses.fields(saved)
        if (with_free or not field.metadata["free"]) and getattr(saved, field.name) != getattr(asked, field.name)
    ]


def _is_ours(error: BaseException) -> bool:
    """Whether the error was raised by this package's own code, as opposed to inside a library it called."""
    here = Path(__file__).resolve().parent
    last = Path(traceback.extract_tb(error.__traceback__)[-1].filename).resolve()
    return here in last.parents or last.parent == here.parent


def run(main: Callable[[], int | None]) -> NoReturn:
    """Call `main` and exit with its code; a user's mistake ends in one line on stderr, never a traceback.

    A mistake is an OSError, or a ValueError or FloatingPointError that this package raised itself.
    """
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        print("error: interrupted; the same command goes on", file=sys.stderr)
        sys.exit(EXIT_INTERRUPTED)
    except (OSError, ValueError, FloatingPointError) as error:
        if not isinstance(error, OSError) and not _is_ours(error):
            raise
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(EXIT_USER_ERROR)
