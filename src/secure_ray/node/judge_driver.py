"""Judges a program that joins a running cluster: the same rules, without a plan."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from secure_ray.base.clock import utc_now
from secure_ray.node.load import load_settings, named_settings_file
from secure_ray.policy.knobs import Kind
from secure_ray.policy.review import Request, Verdict, review

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


def judge_driver(
    environ: Mapping[str, str],
    *,
    ray_version: str,
    config: Path | None = None,
    started_with: Path | None = None,
    arguments: tuple[Request, ...] = (),
    trusted: bool = False,
) -> frozenset[str]:
    """Review a driver's arguments, environment and `.env`.

    A driver is the user's own program: what injects code into it (PYTHONPATH, LD_PRELOAD) is the
    user's own affair, unlike in Ray's processes. What steers Ray is not.

    Args:
        environ: The program's environment.
        ray_version: The Ray of the cluster.
        config: The settings file that was named, or None.
        started_with: That of the cluster's start, or None. Once it is gone, what it permitted is not
            permitted any more.
        arguments: Its arguments for `ray.init`.
        trusted: True for a job, whose environment secure-ray itself has made.

    Returns:
        Variables that steer Ray and must not stay in the program's environment.

    Raises:
        UsageError: the settings are wrong.
        RefusedError: policy refuses something; holds every refusal.
    """
    if started_with is not None and os.path.lexists(started_with):
        config = named_settings_file(config, environ, started_with)
    loaded = load_settings(config=config, environ=environ, cwd=Path.cwd(), flags={})
    settings = loaded.resolved.settings
    inherited: Iterable[Request] = ()
    if not trusted:
        inherited = (
            *variable_requests(loaded.dotenv, ".env", explicit=False),
            *variable_requests(environ, "environment", explicit=False),
        )
    verdict = review(
        (*arguments, *inherited),
        ray_version=ray_version,
        allow_flags=frozenset(settings.ray.allow_flags),
        overrides=settings.override,
        now=utc_now(),
    )
    verdict.require_accepted()
    return held_back(verdict) & frozenset(environ)


def held_back(verdict: Verdict) -> frozenset[str]:
    """The variables for Ray that policy does not pass on."""
    return frozenset(
        request.name
        for request in (*verdict.scrubbed, *verdict.unknown, *verdict.pinned)
        if request.name.upper().startswith(("RAY_", "__RAY_"))
    )


def variable_requests(
    variables: Mapping[str, str], source: str, *, explicit: bool
) -> tuple[Request, ...]:
    """The variables as requests to review; `explicit` when somebody wrote them for Ray."""
    return tuple(
        Request(Kind.VARIABLE, name, value, source, explicit=explicit)
        for name, value in sorted(variables.items())
    )
