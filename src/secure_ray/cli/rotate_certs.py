"""`secure-ray rotate-certs`: new certificates for a cluster that goes on working."""

from __future__ import annotations

import os
from contextlib import ExitStack, contextmanager
from enum import Enum
from typing import TYPE_CHECKING, Annotated

import typer

from secure_ray.cli.down import AsJson, Cluster

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from secure_ray.node.paths import ClusterPaths
    from secure_ray.node.plan import LaunchPlan
    from secure_ray.rotation.rotate import Rotation


class Authority(str, Enum):
    """What is made anew beside the leaves."""

    ISSUING = "issuing"
    ROOT = "root"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("rotate-certs")(rotate_certs)


def rotate_certs(  # noqa: PLR0913  # the options of the command line
    *,
    ca: Annotated[
        Authority | None, typer.Option(help="Also a new issuing CA, or a new root CA.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on where an earlier run has stopped.")
    ] = False,
    rollback: Annotated[
        bool, typer.Option("--rollback", help="Take back a rotation of the root CA.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done, and to which work.")
    ] = False,
    accept_head_restart: Annotated[
        bool,
        typer.Option("--accept-head-restart", help="Restart the head though its work ends."),
    ] = False,
    exclude: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Leave a node out; it joins again later."),
    ] = None,
    max_unavailable: Annotated[
        int, typer.Option(min=1, max=64, help="Workers that are away at once.")
    ] = 1,
    drain_timeout: Annotated[
        str, typer.Option(metavar="SPAN", help="How long work may take to end: 90s, 1h.")
    ] = "1h",
    cluster: Cluster = None,
    as_json: AsJson = False,
) -> None:
    """Give every node a new certificate, and start its Ray with it, one node after the other.

    Work moves: each worker is drained first, the head comes last. Safe to interrupt: --resume goes on. With --ca root the old root CA is refused everywhere at the end; until then --rollback takes it back.
    """
    from secure_ray.cli.output import emit_json, say
    from secure_ray.cli.progress import progress
    from secure_ray.cli.spans import read_span
    from secure_ray.node.instance import require_running
    from secure_ray.node.paths import cluster_paths

    _require_one(resume=resume, rollback=rollback, ca=ca)
    seconds = read_span(drain_timeout, "--drain-timeout").total_seconds()
    paths = cluster_paths(os.environ, cluster)
    plan = require_running(paths).plan
    _require_head(plan)
    excluded = frozenset(exclude or ())
    _require_workers(plan, excluded)
    if dry_run:
        _tell_plan(plan, ca, excluded, as_json=as_json)
        return
    done: list[str] = []
    with _alone(paths), progress() as show:

        def tell(text: str) -> None:
            done.append(text)
            show({"event": text})
            say(text)

        rotation = _rotation(
            plan,
            tell,
            lambda text: show({"event": text}),
            seconds=seconds,
            at_once=max_unavailable,
            excluded=excluded,
            accepted=accept_head_restart,
        )
        _run(rotation, ca, resume=resume, rollback=rollback)
    if as_json:
        emit_json("secure-ray/rotate-certs/1", {"cluster": paths.name, "steps": done})
    else:
        say(f"every node of cluster {paths.name} shows its new certificate")


def _run(rotation: Rotation, ca: Authority | None, *, resume: bool, rollback: bool) -> None:
    if resume:
        rotation.resume()
    elif rollback:
        rotation.rollback()
    elif ca is Authority.ROOT:
        rotation.root()
    elif ca is Authority.ISSUING:
        rotation.issuing()
    else:
        rotation.leaves()


def _rotation(
    plan: LaunchPlan,
    tell: Callable[[str], None],
    show: Callable[[str], None],
    *,
    seconds: float,
    at_once: int,
    excluded: frozenset[str],
    accepted: bool,
) -> Rotation:
    from secure_ray.base.clock import utc_now
    from secure_ray.rotation.roll import Roller
    from secure_ray.rotation.rotate import Rotation

    return Rotation(
        plan=plan,
        roller=Roller(plan, utc_now, seconds, show),
        clock=utc_now,
        at_once=at_once,
        excluded=excluded,
        may_restart_head=lambda: accepted or _is_idle(plan),
        show=tell,
    )


def _is_idle(plan: LaunchPlan) -> bool:
    """Whether nothing hangs on the head's Ray; not when that cannot be told."""
    from secure_ray.base.errors import FailedError
    from secure_ray.policy.store import StoreKind
    from secure_ray.rotation.risk import work_at, work_now

    try:
        work = work_now(plan)
    except FailedError:
        return False
    # Without a store that outlives it, every actor of the cluster ends with the head.
    keeps = plan.store is not StoreKind.MEMORY
    return not (work_at(work, plan.place.address) if keeps else work)


def _tell_plan(
    plan: LaunchPlan, ca: Authority | None, excluded: frozenset[str], *, as_json: bool
) -> None:
    from secure_ray.base.clock import utc_now
    from secure_ray.cli.output import columns, emit, emit_json
    from secure_ray.rotation.nodes import cluster_facts
    from secure_ray.rotation.risk import work_at, work_now

    work = work_now(plan)
    times = 2 if ca is Authority.ROOT else 1
    rows = [
        {
            "node": node.name,
            "address": node.address,
            "state": node.state,
            "restarts": 0 if node.name in excluded else times,
            "work": work_at(work, node.address),
        }
        for node in cluster_facts(plan, now=utc_now())
    ]
    if as_json:
        emit_json("secure-ray/rotate-certs-plan/1", {"ca": ca.value if ca else "", "nodes": rows})
        return
    head = ("NODE", "ADDRESS", "STATE", "RESTARTS", "WORK THERE NOW")
    cells = [tuple(str(value) or "-" for value in row.values()) for row in rows]
    emit("in this order; nothing was changed")
    emit(columns([head, *cells]))


def _require_one(*, resume: bool, rollback: bool, ca: Authority | None) -> None:
    if [resume, rollback, ca is not None].count(True) > 1:
        from secure_ray.base.errors import UsageError

        raise UsageError(
            "SR-CFG-023",
            "--resume, --rollback and --ca do not go together",
            fix="--resume goes on with what an earlier run began, whatever that was",
        )


def _require_head(plan: LaunchPlan) -> None:
    if not plan.place.is_head:
        from secure_ray.base.errors import UsageError

        raise UsageError(
            "SR-CFG-024",
            f"this is a worker; certificates are rotated from the head at {plan.place.head}",
            fix="run it there",
        )


def _require_workers(plan: LaunchPlan, names: frozenset[str]) -> None:
    """Nobody means to leave out a node that there is not: then another one would restart."""
    from secure_ray.base.errors import FailedError
    from secure_ray.rotation.nodes import worker_names

    unknown = sorted(names - worker_names(plan)) if names else []
    if unknown:
        raise FailedError(
            "SR-JOIN-043",
            f"--exclude: no worker is called {unknown[0]}; the head cannot be left out",
            fix="secure-ray node list",
        )


@contextmanager
def _alone(paths: ClusterPaths) -> Iterator[None]:
    from secure_ray.base.errors import IncompleteError
    from secure_ray.base.locks import lock

    with ExitStack() as held:
        try:
            held.enter_context(lock(paths.directory / "rotation.lock", wait=0.0))
        except BlockingIOError:
            raise IncompleteError(
                "SR-ROT-007",
                f"another rotation of cluster {paths.name} runs",
                fix="wait for it, then run this again",
            ) from None
        yield
