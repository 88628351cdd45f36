"""Settings become flags and come back from files; a mistake is one line."""

from __future__ import annotations

import dataclasses
import errno
import functools
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from electra import cli, interrupts
from electra.cli import setting
from electra.files import FormatError
from tests.conftest import ROOT
from tests.helpers.pretraining import error_of


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sample:
    rate: float = setting(0.5, "how fast", low=0, high=1, unit="per update", source="table 5")
    num_steps: int = setting(7, "how long", low=1)
    mode: str = setting("plain", "which way", choices=("plain", "fancy"), renamed={"simple": "plain"})
    swap: bool = setting(False, "swap pairs")
    points: tuple[float, ...] = setting((0.25, 1.0), "where", low=0, high=1)
    folder: str = setting("runs", "place", free=True)
    derived: int = setting(3, "not a flag", flag=False)

    def __post_init__(self) -> None:
        cli.check_settings(self)


def parse(*argv: str) -> dict[str, object]:
    parser = cli.Parser("prog")
    cli.add_settings(parser, Sample, "sample")
    return vars(parser.parse_args(argv))


def test_each_kind_of_setting_is_parsed_to_its_type_and_a_flag_that_is_not_given_is_absent():
    given = parse("--rate", "1", "--num-steps", "3", "--mode", "fancy", "--swap", "--points", "0,0.5")
    assert given == {"rate": 1.0, "num_steps": 3, "mode": "fancy", "swap": True, "points": (0.0, 0.5)}
    assert parse("--no-swap") == {"swap": False}
    assert parse() == {}


def test_later_layers_win_and_foreign_keys_are_passed_over():
    config = cli.build(Sample, {"rate": 0.1, "mode": "fancy"}, {"rate": 1, "foreign": 1})
    assert (config.rate, config.mode, config.num_steps) == (1, "fancy", 7)  # an int passes for a float


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"rate": 1.5}, "--rate: expected float >= 0 and <= 1, found 1.5; give another value"),
        ({"rate": float("nan")}, "--rate: expected float >= 0 and <= 1, found nan"),
        ({"rate": "0.5"}, "--rate: expected float >= 0 and <= 1, found '0.5'"),
        ({"num_steps": 0}, "--num-steps: expected int >= 1, found 0"),
        ({"num_steps": 2.0}, "--num-steps: expected int >= 1, found 2.0"),
        ({"num_steps": True}, "--num-steps: expected int >= 1, found True"),
        ({"num_steps": 10**400}, "--num-steps: expected int >= 1, found 1000"),
        ({"mode": "odd"}, "--mode: expected one of plain, fancy, found 'odd'"),
        ({"points": (0.5, 2.0)}, "--points: expected comma-separated float >= 0 and <= 1, found (0.5, 2.0)"),
        ({"points": 0.5}, "--points: expected comma-separated float"),
    ],
)
def test_impossible_values_are_refused_by_name_and_range_and_in_a_file_with_its_name(values, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        Sample(**values)
    with pytest.raises(FormatError, match=f"^x.json: {re.escape(message)}"):
        cli.from_dict(Sample, {**dataclasses.asdict(Sample()), **values}, Path("x.json"))


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--rat", "1"], "unrecognized arguments: --rat 1; did you mean --rate?"),
        (["--rate", "--x"], "argument --rate: expected one argument (--help"),
        (["--num-steps", "x"], "invalid int value: 'x'"),
    ],
)
def test_a_wrong_flag_is_one_line_on_stderr_and_exit_code_2(argv, message, capsys):
    parser = cli.Parser("prog")
    cli.add_settings(parser, Sample, "sample")
    with pytest.raises(SystemExit) as stop:
        parser.parse_args(argv)
    err = capsys.readouterr().err
    assert (stop.value.code, err[:7], message in err, err.count("\n")) == (2, "error: ", True, 1), err


def test_help_states_unit_default_choices_and_source(capsys):
    with pytest.raises(SystemExit):
        parse("--help")
    out = " ".join(capsys.readouterr().out.split())
    assert "how fast (per update; default 0.5; table 5)" in out
    assert "which way (default 'plain'; plain, fancy)" in out
    assert "--derived" not in out


def test_a_saved_config_comes_back_strictly():
    sample = Sample(points=(0.5,))
    saved = {**dataclasses.asdict(sample), "points": [0.5]}  # JSON has lists in place of tuples
    assert cli.from_dict(Sample, saved, Path("x.json")) == sample
    assert cli.from_dict(Sample, {**saved, "mode": "simple"}, Path("x.json")) == sample  # a former name
    for wrong, name in (({**saved, "extra": 1}, "extra"), ({k: saved[k] for k in saved if k != "rate"}, "rate")):
        with pytest.raises(FormatError, match=f"x.json: settings of Sample are missing or unknown: {name}; use"):
            cli.from_dict(Sample, wrong, Path("x.json"))


def test_differences_name_each_setting_and_leave_out_the_free_ones():
    found = cli.differences(Sample(), Sample(rate=0.25, mode="fancy", folder="else"))
    assert found == ["rate is 0.5, asked for 0.25", "mode is 'plain', asked for 'fancy'"]
    found = cli.differences({"a": 1, "b": 2, "c": 3}, {"a": 1, "b": "2", "d": 4})
    assert found == ["b is 2, asked for '2'", "c is 3, asked for None", "d is None, asked for 4"]


def raising(error: BaseException) -> Callable[[], None]:
    def main() -> None:
        raise error

    return main


def test_an_error_that_is_not_ours_keeps_its_traceback():
    with pytest.raises(ValueError, match="invalid literal"):
        cli.run(lambda: int("x"))  # raised outside the package's files: a bug, not a mistake


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(errno.ENOSPC, "No space left", "a/b"), "a/b: No space left; free some space; the same"),
        (FormatError("a\x1b[2Jb: wrong;\nmend it"), "a\\x1b[2Jb: wrong; mend it"),
        (FormatError("a: " + 2000 * "word " + "; mend it"), "a: word word word"),
    ],
)
def test_an_error_is_one_line_with_file_and_remedy_no_longer_than_a_screen(capsys, error, message):
    err = error_of(capsys, raising(error))
    assert err.startswith(message)
    assert len(err) <= 1005


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: cli._floats("1,x"), "ValueError at {cli}:N: could not convert string to float: 'x'; check the files"),
        (lambda: b"\xff".decode(), "UnicodeDecodeError at {cli}:N: 'utf-8' codec can't decode byte 0xff in"),
    ],
)
def test_what_python_raises_without_a_file_is_one_line_with_the_place_in_our_code(capsys, call, message):
    err = re.sub(r":\d+:", ":N:", error_of(capsys, call))
    assert err.startswith(message.format(cli=cli.__file__))


def test_an_interrupted_command_is_one_line_and_130(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.run(raising(KeyboardInterrupt()))
    assert stop.value.code == 130
    assert capsys.readouterr().err == "error: interrupted; the same command goes on\n"


@pytest.mark.parametrize("script", [["train_pretrain.py"], ["train_glue.py"], ["-m", "electra", "cost"]])
def test_ctrl_c_while_a_script_imports_ends_it_at_once(script, tmp_path):
    """Also where an import swallows the exception, as torch does around NumPy's."""
    interrupt = "import os, signal\ntry: os.kill(os.getpid(), signal.SIGINT)\nexcept KeyboardInterrupt: pass\n"
    (tmp_path / "torch.py").write_text(interrupt)
    env = {**os.environ, "PYTHONPATH": f"{tmp_path}:{ROOT}"}
    heed = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # a test run in the background ignores it
    command = [sys.executable, "-P", *script]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False, preexec_fn=heed)
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, "", "")


def test_ctrl_c_is_an_exception_again_once_all_is_loaded():
    before = signal.signal(signal.SIGINT, signal.SIG_DFL)
    interrupts.loaded()
    assert signal.signal(signal.SIGINT, before) is signal.default_int_handler


PROGRAM = """
import sys
from electra import cli
def main():
    for number in range(3):
        print("caf\\u00e9 \\ud800", number, flush=number < 2)
    print("done", file=sys.stderr)
    return 3
cli.run(main, needs_output=NEEDS)
"""


def output_of(tmp_path: Path, channel: str, needs_output: bool = False) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of PROGRAM with a kind of standard output."""
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-c", PROGRAM.replace("NEEDS", str(needs_output))]
    command = ["sh", "-c", 'exec "$@" >&-', "sh", *command] if channel == "closed" else command
    env = {**os.environ, "PYTHONIOENCODING": channel if channel in ("ascii", "utf-8") else "utf-8"}
    with open("/dev/full", "w") as full, open(tmp_path / "out", "w+") as out:
        stdout = {"unread": writer, "full": full.fileno()}.get(channel, out.fileno())
        done = subprocess.run(command, cwd=ROOT, env=env, stdout=stdout, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    return done.returncode, (tmp_path / "out").read_text(), done.stderr


def test_what_an_encoding_lacks_is_written_as_an_escape(tmp_path):
    lines = [rf"caf\xe9 \ud800 {number}" + "\n" for number in range(3)]
    assert output_of(tmp_path, "ascii") == (3, "".join(lines), "done\n")
    assert output_of(tmp_path, "utf-8") == (3, "".join(lines).replace(r"\xe9", "é"), "done\n")


@pytest.mark.parametrize(
    ("channel", "warning"),
    [
        ("closed", ""),
        ("unread", "WARNING: standard output: Broken pipe; going on without it\n"),
        ("full", "WARNING: standard output: No space left on device; going on without it\n"),
    ],
)
def test_a_script_goes_on_when_its_output_reaches_nobody(tmp_path, channel, warning):
    assert output_of(tmp_path, channel) == (3, "", f"{warning}done\n")


def test_a_command_ends_without_a_word_when_its_reader_has_gone_and_with_one_at_a_full_disk(tmp_path):
    assert output_of(tmp_path, "unread", needs_output=True) == (141, "", "")
    error = "error: standard output: No space left on device; free some space; the same command goes on\n"
    assert output_of(tmp_path, "full", needs_output=True) == (2, "", error)


@pytest.mark.parametrize(
    ("is_terminal", "term", "no_color", "is_colored"),
    [(True, "xterm", "", True), (False, "xterm", "", False), (True, "dumb", "", False), (True, "xterm", "1", False)],
)
def test_colors_are_for_terminals_that_have_them_and_people_who_want_them(
    monkeypatch, is_terminal, term, no_color, is_colored
):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: is_terminal)
    monkeypatch.setenv("TERM", term)
    monkeypatch.setenv("NO_COLOR", no_color)
    monkeypatch.setenv("COLUMNS", "40")
    assert cli.is_colored() is is_colored
    assert cli.line_width() == (40 if is_terminal else 100)


def test_control_characters_are_shown_as_escapes_and_letters_of_every_script_as_they_are():
    text = "a\0\t\n\x1b[2J\x7f\x9b\u202e\ud800 é 中 👩\u200d🔬"
    assert cli.printable(text) == r"a\x00\t\n\x1b[2J\x7f\x9b\u202e\ud800 é 中 👩" + "\u200d🔬"
