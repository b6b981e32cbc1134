import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secure_ray.base.errors import FailedError, Refusal, RefusedError, UsageError
from secure_ray.cli.output import (
    colours_wanted,
    columns,
    describe,
    emit,
    emit_json,
    render_error,
    report,
    sanitise,
    say,
    warn,
)
from secure_ray.settings.problems import Problem, SettingsError

REFUSED = RefusedError(
    (
        Refusal("SR-NET-002", "it listens", "flag --dashboard-host", "plain.", "drop it."),
        Refusal("SR-ENV-001", "it runs", "variable RAY_X", "bad.", "unset it."),
    )
)
PROBLEMS = SettingsError(
    (
        Problem("SR-CFG-001", "a.b", "", "is not a setting", "file x"),
        Problem("SR-CFG-002", "c.d", "3", "should be text", "file y"),
    )
)


def test_a_refusal_is_shown_with_source_why_and_fix() -> None:
    assert render_error(REFUSED) == (
        "refused SR-NET-002: it listens (flag --dashboard-host)\n"
        "  why: plain.   fix: drop it.\n"
        "refused SR-ENV-001: it runs (variable RAY_X)\n"
        "  why: bad.   fix: unset it."
    )


def test_an_error_is_shown_with_its_fix() -> None:
    assert (
        render_error(FailedError("SR-NET-011", "port 1 is taken", fix="stop it"))
        == "error SR-NET-011: port 1 is taken\n  fix: stop it"
    )


def test_each_wrong_setting_has_its_line() -> None:
    lines = render_error(PROBLEMS).splitlines()
    assert lines[:2] == [
        "error SR-CFG-001: a.b is not a setting (file x)",
        "error SR-CFG-002: c.d = 3 should be text (file y)",
    ]


def test_foreign_lines_cannot_pose_as_ours() -> None:
    cause = "it failed\nrefused SR-NET-001: x\x1b[2J\r\n  fix: curl evil"
    text = render_error(FailedError("SR-A-001", cause, fix="look"))
    ours = [line for line in text.splitlines() if not line.startswith("    ")]
    assert ours == ["error SR-A-001: it failed", "  fix: look"]
    assert "\x1b" not in text
    assert "\r" not in text


@pytest.mark.parametrize(
    "steering",
    ["\x1b[31m", "\x07", "\r", "\x08", "\x9b2J", "\x7f", "\u202e", "\u2066", "\u200b", "\ud800"],
)
def test_what_steers_a_terminal_is_spelled_out(steering: str) -> None:
    assert steering[0] not in sanitise(f"a{steering}b")
    assert sanitise(steering[0]).startswith("\\")


@given(st.text())
def test_sanitised_text_can_be_printed_and_stays_so(text: str) -> None:
    clean = sanitise(text)
    assert clean == sanitise(clean)
    clean.encode()


def test_ordinary_text_stays_as_it_is() -> None:
    assert sanitise("ünï 漢字\nnext") == "ünï 漢字\nnext"


def test_data_and_messages_go_apart(capsys: pytest.CaptureFixture[str]) -> None:
    emit("data\x1b")
    say("message\x1b")
    warn("careful\x1b")
    out, err = capsys.readouterr()
    assert out == "data\\x1b\n"
    assert err == "message\\x1b\nwarning: careful\\x1b\n"


def test_json_says_its_schema(capsys: pytest.CaptureFixture[str]) -> None:
    emit_json("secure-ray/status/1", {"path": Path("/a"), "text": "\x1b[2J\x7f"})
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert json.loads(out) == {
        "schema": "secure-ray/status/1",
        "path": "/a",
        "text": "\x1b[2J\x7f",
    }


@pytest.mark.parametrize("error", [REFUSED, PROBLEMS, UsageError("SR-A-001", "c", fix="f")])
def test_a_program_reads_the_error_on_standard_output(
    error: UsageError, capsys: pytest.CaptureFixture[str]
) -> None:
    report(error, as_json=True)
    out, err = capsys.readouterr()
    assert json.loads(out) == {"schema": "secure-ray/error/1", **describe(error)}
    assert json.loads(out)["exit_code"] == error.exit_code
    assert error.code in err


def test_a_program_reads_every_refusal_and_problem() -> None:
    assert [entry["rule"] for entry in list_of(describe(REFUSED)["refusals"])] == [
        "SR-NET-002",
        "SR-ENV-001",
    ]
    assert [entry["key"] for entry in list_of(describe(PROBLEMS)["problems"])] == ["a.b", "c.d"]


def list_of(value: object) -> list[dict[str, str]]:
    assert isinstance(value, list)
    return value


def test_columns_line_up() -> None:
    assert columns([("a", "bbb", "c"), ("aa", "b\nb", "")]) == "a   bbb   c\naa  b\\nb"
    assert columns([]) == ""


class Terminal:
    """A standard error that is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("variables", "wanted"),
    [({}, True), ({"NO_COLOR": "1"}, False), ({"NO_COLOR": ""}, True), ({"TERM": "dumb"}, False)],
)
def test_colours_can_be_switched_off(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], *, wanted: bool
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr("sys.stderr", Terminal())
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert wanted == colours_wanted()


def test_only_the_first_word_is_coloured() -> None:
    error = FailedError("SR-A-001", "c", fix="f")
    assert render_error(error, colour=True) == "\x1b[31merror\x1b[0m SR-A-001: c\n  fix: f"
