"""Settings become flags and come back; a mistake is one line."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from electra import cli
from electra.cli import setting


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sample:
    rate: float = setting(0.5, "how fast", low=0, high=1, unit="per update", source="table 5")
    num_steps: int = setting(7, "how long", low=1)
    mode: str = setting("plain", "which way", choices=("plain", "fancy"))
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


def test_flags_that_are_not_given_leave_no_trace():
    assert parse() == {}


def test_each_kind_of_setting_is_parsed_to_its_type():
    given = parse("--rate", "1", "--num-steps", "3", "--mode", "fancy", "--swap", "--points", "0,0.5")
    assert given == {"rate": 1.0, "num_steps": 3, "mode": "fancy", "swap": True, "points": (0.0, 0.5)}
    assert parse("--no-swap") == {"swap": False}


def test_later_layers_win_and_foreign_keys_are_passed_over():
    config = cli.build(Sample, {"rate": 0.1, "mode": "fancy"}, {"rate": 0.2, "foreign": 1})
    assert (config.rate, config.mode, config.num_steps) == (0.2, "fancy", 7)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"rate": 1.5}, r"--rate: expected float >= 0 and <= 1, found 1.5; give another value"),
        ({"rate": float("nan")}, r"--rate: expected float >= 0 and <= 1, found nan"),
        ({"num_steps": 0}, r"--num-steps: expected int >= 1, found 0"),
        ({"num_steps": 2.0}, r"--num-steps: expected int >= 1, found 2.0"),
        ({"num_steps": True}, r"--num-steps: expected int >= 1, found True"),
        ({"mode": "odd"}, r"--mode: expected one of plain, fancy, found 'odd'"),
        ({"points": (0.5, 2.0)}, r"--points: expected comma-separated float >= 0 and <= 1, found \(0.5, 2.0\)"),
        ({"points": 0.5}, r"--points: expected comma-separated float"),
    ],
)
def test_impossible_values_are_refused_by_name_and_range(values, message):
    with pytest.raises(ValueError, match=message):
        Sample(**values)


def test_the_range_includes_its_ends_and_an_int_passes_for_a_float():
    assert Sample(rate=1).rate == 1
    assert Sample(rate=0.0, num_steps=1)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--rat", "1"], "unrecognized arguments: --rat 1; did you mean --rate?"),
        (["--num-steps", "x"], "invalid int value: 'x'"),
    ],
)
def test_a_wrong_flag_is_one_line_on_stderr_and_exit_code_2(argv, message, capsys):
    parser = cli.Parser("prog")
    cli.add_settings(parser, Sample, "sample")
    with pytest.raises(SystemExit) as stop:
        parser.parse_args(argv)
    err = capsys.readouterr().err
    assert stop.value.code == 2
    assert err.startswith("error: ")
    assert message in err
    assert err.count("\n") == 1


def test_help_states_unit_default_choices_and_source(capsys):
    with pytest.raises(SystemExit):
        parse("--help")
    out = " ".join(capsys.readouterr().out.split())
    assert "how fast (per update; default 0.5; table 5)" in out
    assert "which way (default 'plain'; plain, fancy)" in out
    assert "--derived" not in out


def test_a_saved_config_comes_back_strictly():
    sample = Sample(points=(0.5,))
    saved = {**dataclasses.asdict(sample), "points": [0.5]}  # what JSON makes of a tuple
    assert cli.from_dict(Sample, saved, Path("x.json")) == sample
    with pytest.raises(
        ValueError, match=r"x.json: expected exactly the settings of Sample, found a difference in extra"
    ):
        cli.from_dict(Sample, {**saved, "extra": 1}, Path("x.json"))
    del saved["rate"]
    with pytest.raises(ValueError, match="difference in rate"):
        cli.from_dict(Sample, saved, Path("x.json"))


def test_differences_name_each_setting_and_leave_out_the_free_ones():
    found = cli.differences(Sample(), Sample(rate=0.25, mode="fancy", folder="else"))
    assert found == ["rate is 0.5, asked for 0.25", "mode is 'plain', asked for 'fancy'"]


def raise_value_error() -> int:
    raise ValueError("--rate: expected 1,\nfound 2; change it")


def test_a_users_mistake_is_one_line_and_exit_code_2(capsys, monkeypatch):
    monkeypatch.setattr(cli, "_is_ours", lambda error: True)
    with pytest.raises(SystemExit) as stop:
        cli.run(raise_value_error)
    assert stop.value.code == 2
    assert capsys.readouterr().err == "error: --rate: expected 1, found 2; change it\n"


def test_an_error_that_is_not_ours_keeps_its_traceback():
    with pytest.raises(ValueError, match="invalid literal"):
        cli.run(lambda: int("x"))  # raised outside the package's files: a bug, not a mistake


def test_a_disk_error_is_one_line(capsys, tmp_path):
    with pytest.raises(SystemExit) as stop:
        cli.run(lambda: (tmp_path / "missing" / "file").write_text("x"))
    assert stop.value.code == 2
    assert "No such file or directory" in capsys.readouterr().err


def test_an_interrupted_command_is_one_line_and_130(capsys):
    def interrupted() -> int:
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as stop:
        cli.run(interrupted)
    assert stop.value.code == 130
    assert capsys.readouterr().err == "error: interrupted; the same command goes on\n"


def test_the_exit_code_of_a_command_is_passed_on():
    with pytest.raises(SystemExit) as stop:
        cli.run(lambda: 143)
    assert stop.value.code == 143
