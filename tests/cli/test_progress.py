"""The progress display: on a terminal only."""

from __future__ import annotations

import io
import sys
from typing import TYPE_CHECKING

from secure_ray.cli.progress import progress

if TYPE_CHECKING:
    import pytest


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_nothing_is_shown_without_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delitem(sys.modules, "rich", raising=False)
    with progress() as show:
        show({"event": "starting"})
        show({"event": "proving"})

    assert capsys.readouterr() == ("", "")
    assert "rich" not in sys.modules


def test_terminal_shows_the_steps_and_standard_output_stays_clean(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")

    with progress() as show:
        show({"event": "proving", "reason": ""})
        show({"event": "an unknown one"})

    assert "an unknown one" in terminal.getvalue()
    assert capsys.readouterr().out == ""
