"""Rows for variables that share an action, a reason and a fix."""

from __future__ import annotations

from typing import TYPE_CHECKING

from secure_ray.policy.knobs import SUPPORTED, Action, Kind, Knob
from secure_ray.policy.values import ANY, NEVER

if TYPE_CHECKING:
    from secure_ray.policy.values import Unsafe

UNSET = "unset it"


def refuse(
    *names: str,
    rule: str,
    unsafe: Unsafe,
    why: str,
    fix: str = UNSET,
    versions: str = SUPPORTED,
    secret: bool = False,
) -> tuple[Knob, ...]:
    """Variables whose unsafe values are refused wherever they come from."""
    return tuple(
        Knob(
            Kind.VARIABLE,
            name,
            Action.REFUSE,
            rule,
            unsafe,
            why,
            fix,
            versions=versions,
            secret=secret,
        )
        for name in names
    )


def scrub(
    *names: str,
    rule: str,
    why: str,
    unsafe: Unsafe = ANY,
    fix: str = "leave it out",
    versions: str = SUPPORTED,
    secret: bool = False,
) -> tuple[Knob, ...]:
    """Variables that are dropped from the caller's environment; unsafe values refused in settings."""
    return tuple(
        Knob(
            Kind.VARIABLE,
            name,
            Action.SCRUB,
            rule,
            unsafe,
            why,
            fix,
            versions=versions,
            secret=secret,
        )
        for name in names
    )


def pin(  # noqa: PLR0913  # the columns of the table
    name: str,
    *,
    rule: str,
    unsafe: Unsafe,
    pinned: str | None,
    why: str,
    fix: str = UNSET,
    versions: str = SUPPORTED,
    secret: bool = False,
) -> tuple[Knob, ...]:
    """A variable that secure-ray sets itself; `pinned` is None for a path or a port."""
    return (
        Knob(
            Kind.VARIABLE,
            name,
            Action.PIN,
            rule,
            unsafe,
            why,
            fix,
            pinned=pinned,
            versions=versions,
            secret=secret,
        ),
    )


def allow(*names: str, why: str) -> tuple[Knob, ...]:
    """Variables that are known and harmless."""
    return tuple(Knob(Kind.VARIABLE, name, Action.ALLOW, "", NEVER, why, "") for name in names)
