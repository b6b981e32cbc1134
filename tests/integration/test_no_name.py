"""A user without a name and a home, as in many a container: it works, or says what is missing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.clusters import Machine

if TYPE_CHECKING:
    from pathlib import Path

# Who may read everything, so that it does not matter where Python is installed.
READS_ALL = "+dac_override,+dac_read_search"
NOBODY = 12345
STRANGER = (
    *("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"),
    *(f"--inh-caps={READS_ALL}", f"--ambient-caps={READS_ALL}"),
    *("env", "--unset=HOME", "--unset=SECURE_RAY_HOME"),
)

pytestmark = pytest.mark.root


@pytest.fixture
def stranger(home: Path) -> Machine:
    home.chmod(0o755)
    return Machine(home, prefix=STRANGER)


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("up --head", "SR-CFG-010"),
        ("up --head --dry-run", "SR-CFG-010"),
        ("status", "SR-CFG-010"),
        ("down", "SR-CFG-010"),
        ("reset --yes", "SR-CFG-010"),
        ("audit", "SR-CFG-010"),
        ("run -- true", "SR-CFG-010"),
        ("deploy systemd", "SR-DEPLOY-003"),
    ],
)
def test_what_is_missing_is_told_in_one_error(stranger: Machine, words: str, code: str) -> None:
    result = stranger.run(*words.split())

    assert result.returncode == 2
    error, fix = result.stderr.splitlines()
    assert error.startswith(f"error {code}: ")
    assert fix.startswith("  fix: ")


@pytest.mark.parametrize("words", ["config show", "explain SR-NET-001", "deploy systemd --user u"])
def test_what_needs_no_home_works(stranger: Machine, words: str) -> None:
    result = stranger.run(*words.split())

    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("words", ["status", "up --head --dry-run"])
def test_a_state_directory_is_all_that_is_needed(stranger: Machine, words: str) -> None:
    told = Machine(stranger.home, prefix=(*STRANGER, f"SECURE_RAY_HOME={stranger.state}"))

    result = told.run(*words.split())

    assert "error" not in result.stderr
    assert result.stdout
