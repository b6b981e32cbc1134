"""What `up` says in the end: of the cluster that it has started, or of the one that runs already."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from secure_ray.base.commands import command
from secure_ray.base.errors import FailedError, IncompleteError, SecureRayError
from secure_ray.cli.output import emit_json, say, warn
from secure_ray.cli.summary import HEALTHY, UNREADABLE, UP, WAITING, print_summary, summary
from secure_ray.node.start_again import start_again

if TYPE_CHECKING:
    from collections.abc import Sequence

    from secure_ray.cli.joining import Join
    from secure_ray.node.decide import Decision
    from secure_ray.node.paths import ClusterPaths


def report_start(paths: ClusterPaths, notices: Sequence[str], *, as_json: bool) -> None:
    """Say what was started, and what of the caller's wishes and variables was not taken over.

    Raises:
        FailedError: it has ended meanwhile.
        IncompleteError: the node waits for its head.
        Exit: with 1, it is up and not as planned.
    """
    facts = summary(paths) | {"notices": list(notices)}
    if facts["state"] == WAITING:
        raise _waits(facts, paths)
    if facts["state"] not in UP:
        raise _gone_again(paths, facts.get("reason", "its record is gone"))
    if as_json:
        emit_json("secure-ray/up/1", facts)
    else:
        print_summary(facts)
    _require_healthy(facts, paths)


def report_running(
    paths: ClusterPaths, decision: Decision, joining: Join | None, *, as_json: bool
) -> None:
    """Say that it runs already, if that is what was asked for.

    Raises:
        FailedError: its record cannot be read.
        IncompleteError: it is about to start or to end, waits, or is not what was asked for.
        Exit: with 1, it is up and not as planned.
    """
    from secure_ray.node.already import differences
    from secure_ray.node.instance import require_running

    facts = summary(paths)
    if facts["state"] == UNREADABLE:
        require_running(paths)  # says why, and what to do
    if joining is not None:
        joining.require_done(paths, decision)
    if facts["state"] == WAITING:
        raise _waits(facts, paths)
    if facts["state"] not in UP:
        raise IncompleteError(
            "SR-STATE-003",
            f"cluster {paths.name} has a supervisor already, which is {facts['state']}",
            fix="wait for it, then run this again",
        )
    if others := differences(decision, require_running(paths).plan):
        raise IncompleteError(
            "SR-STATE-014",
            f"cluster {paths.name} is up, and was not started as asked for now: {'; '.join(others)}",
            fix=f"{command('down', paths.name)}, which ends its work, then this again",
        )
    if as_json:
        emit_json("secure-ray/up/1", facts)
    else:
        say(f"cluster {paths.name} is already up; {command('status', paths.name)} shows it")
    _require_healthy(facts, paths)


def _require_healthy(facts: dict[str, Any], paths: ClusterPaths) -> None:
    """As `status` does: what is up and not well is no success."""
    if facts["state"] != HEALTHY:
        warn(
            f"cluster {paths.name} is {facts['state']}: {facts['reason']}; "
            f"{command('status', paths.name)} shows what runs"
        )
        raise typer.Exit(SecureRayError.exit_code)


def _gone_again(paths: ClusterPaths, reason: str) -> FailedError:
    return FailedError(
        "SR-STATE-004",
        f"cluster {paths.name} was up, and is not running any more: {reason}",
        fix=f"{start_again(paths)}; {paths.log} says what happened",
    )


def _waits(facts: dict[str, Any], paths: ClusterPaths) -> IncompleteError:
    return IncompleteError(
        "SR-STATE-003",
        f"node {facts['name']} is up and waits: {facts['reason']}",
        fix=f"see on the head at {facts['head']}: secure-ray status, secure-ray node list; here "
        f"{command('down', paths.name)} ends the wait",
    )
