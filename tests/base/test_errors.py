"""Errors carry a code, an exit code and a fix; a refusal carries all refusals."""

import pytest

from secure_ray.base.errors import (
    FailedError,
    IncompleteError,
    InconclusiveError,
    Refusal,
    RefusedError,
    RejectedError,
    SecureRayError,
    UsageError,
)

FIRST = Refusal(
    "SR-NET-002", "it would listen on 0.0.0.0", "flag --dashboard-host", "why", "drop it"
)
SECOND = Refusal("SR-AUTH-001", "no token", "variable RAY_AUTH_MODE", "why", "unset it")


@pytest.mark.parametrize(
    ("kind", "exit_code"),
    [
        (SecureRayError, 1),
        (UsageError, 2),
        (FailedError, 4),
        (IncompleteError, 5),
        (InconclusiveError, 6),
        (RejectedError, 7),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_an_error_has_its_exit_code_a_cause_and_a_fix(
    kind: type[SecureRayError], exit_code: int
) -> None:
    error = kind("SR-X-001", "it broke", fix="mend it")

    assert error.exit_code == exit_code
    assert (error.code, error.cause, error.fix) == ("SR-X-001", "it broke", "mend it")
    assert str(error) == "SR-X-001: it broke"


def test_one_refusal_is_told_with_its_source() -> None:
    error = RefusedError((FIRST,))

    assert error.exit_code == 3
    assert error.code == "SR-NET-002"
    assert str(error) == "SR-NET-002: it would listen on 0.0.0.0 (flag --dashboard-host)"
    assert error.fix == "drop it"


def test_all_refusals_are_kept() -> None:
    error = RefusedError((FIRST, SECOND))

    assert error.refusals == (FIRST, SECOND)
    assert str(error).endswith("(and 1 more)")


def test_a_refusal_of_nothing_is_a_bug() -> None:
    with pytest.raises(ValueError, match="at least one"):
        RefusedError(())
