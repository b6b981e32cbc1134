"""What `up` and `status` tell of a cluster: facts as plain data, and their print-out.

Reads the supervisor's record as plain JSON: building the typed plan would cost more than all else.
"""

from __future__ import annotations

import json
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from secure_ray.base.files import is_there, read_private
from secure_ray.cli.output import emit
from secure_ray.node.instance import supervisor_lives

if TYPE_CHECKING:
    from secure_ray.node.paths import ClusterPaths
    from secure_ray.node.plan import LaunchPlan

HEALTHY = "running"
UP = frozenset({HEALTHY, "degraded"})
UNREADABLE = "unreadable"
_ALIVE = {"starting", "proving", "running", "degraded", "stopping"}


def summary(paths: ClusterPaths) -> dict[str, Any]:
    """Facts about the cluster at `paths`: state, ports and who holds them, limits, expiry.

    Raises:
        FailedError: the record is not ours alone.
    """
    facts: dict[str, Any] = {
        "cluster": paths.name,
        "state": "none",
        "directory": str(paths.directory),
    }
    if not is_there(paths.instance):
        return facts
    text = read_private(paths.instance)
    try:
        return facts | _of_record(json.loads(text), paths)
    except (ValueError, KeyError, TypeError):
        reason = "its record was written by another version; secure-ray down, then up, renews it"
        return facts | {"state": UNREADABLE, "reason": reason}


def _of_record(record: dict[str, Any], paths: ClusterPaths) -> dict[str, Any]:
    alive = supervisor_lives(paths)
    state, reason = record["phase"], record["reason"]
    if state in _ALIVE and not alive:
        state, reason = "died", "the supervisor was killed; secure-ray down stops what is left"
    plan = record["plan"]
    facts = {
        "state": state,
        "reason": reason,
        "since": record["since"],
        "started": record["started"],
        "node": "127.0.0.1",
        "versions": plan["versions"],
        "limits": plan["limits"],
        "overrides": plan["overrides"],
        "certificate": _certificate(record["certificate_expires"]),
        "logs": f"{plan['run']['directory']}/ray/session_latest/logs",
        "supervisor": {"pid": record["supervisor"]["pid"], "log": str(paths.log)},
    }
    if alive:
        facts |= _ports(plan["ports"])
    return facts


def _certificate(expires: str) -> dict[str, Any]:
    left = datetime.fromisoformat(expires) - datetime.now(timezone.utc)
    return {"expires": expires, "days_left": left.days}


def _ports(plan: dict[str, Any]) -> dict[str, Any]:
    """Each planned port with the process that has it, and the drivers and workers behind them."""
    holders = _holders()
    ports = [
        {
            "component": entry["component"]["name"],
            "title": entry["component"]["title"],
            "protocol": entry["component"]["protocol"],
            "port": entry["port"],
            "holder": holders.get(entry["port"], "nobody"),
        }
        for entry in plan["ports"]
    ]
    inside = range(plan["first_worker"], plan["last_worker"] + 1)
    workers = {port: name for port, name in sorted(holders.items()) if port in inside}
    return {
        "ports": ports,
        "worker_ports": f"{plan['first_worker']}-{plan['last_worker']}",
        "workers": [{"port": port, "holder": name} for port, name in workers.items()],
    }


def _holders() -> dict[int, str]:
    import psutil

    found = {}
    for connection in psutil.net_connections(kind="tcp"):
        if connection.status == psutil.CONN_LISTEN and connection.laddr:
            found[connection.laddr.port] = _holder(connection.pid)
    return found


def _holder(pid: int | None) -> str:
    import psutil

    from secure_ray.base.processes import describe

    if not pid:
        return "another user's process"
    try:
        return describe(psutil.Process(pid))
    except psutil.Error:
        return f"pid {pid}"  # gone since


def print_summary(facts: dict[str, Any]) -> None:
    """What to know after `up`, and what to do next."""
    name = facts["cluster"]
    option = "" if name == "default" else f" --cluster {name}"
    ports = {entry["component"]: entry["port"] for entry in facts.get("ports", ())}
    emit(f"cluster {name} is up: {len(ports)} services on 127.0.0.1, {facts['reason']}")
    emit(f"  identity     token and mutual TLS on; certificate {_days(facts)}")
    emit(f"  limits       {_limits(facts['limits'])}")
    _print_overrides(facts)
    if "dashboard" in ports:
        emit(f"  dashboard    http://127.0.0.1:{ports['dashboard']}")
    emit(f"  state        {facts['directory']}")
    emit("")
    emit("next")
    emit(f"  secure-ray run{option} -- python script.py      a program with plain ray.init()")
    join = "" if name == "default" else f', cluster="{name}"'
    emit(f'  from secure_ray import secure_init; secure_init("auto"{join})')
    emit(f"  secure-ray status{option}  |  audit{option}  |  down{option}")


def print_status(facts: dict[str, Any]) -> None:
    """The whole of `secure-ray status`."""
    name, state = facts["cluster"], facts["state"]
    if state == UNREADABLE:
        emit(f"cluster {name}: {facts['reason']}")
        return
    if state == "none":
        emit(f"cluster {name}: never started (secure-ray up --head)")
        return
    emit(
        f"cluster {name}: {state}, {facts['reason']}"
        if facts["reason"]
        else f"cluster {name}: {state}"
    )
    emit(f"  since        {facts['since']} (started {facts['started']})")
    emit(f"  node         {facts['node']}, supervisor pid {facts['supervisor']['pid']}")
    versions = ", ".join(f"{package} {version}" for package, version in facts["versions"].items())
    emit(f"  versions     {versions}")
    emit(f"  certificate  {_days(facts)}")
    emit(f"  limits       {_limits(facts['limits'])}")
    note = facts["limits"]["isolation_note"]
    emit(f"  isolation    {'on' if facts['limits']['isolation'] else f'off: {note}'}")
    _print_overrides(facts)
    for entry in facts.get("ports", ()):
        emit(f"  {entry['port']:<12} {entry['title']:<24} {entry['protocol']:<9} {entry['holder']}")
    for entry in facts.get("workers", ()):
        emit(f"  {entry['port']:<12} {'worker or driver':<24} {'grpc':<9} {entry['holder']}")
    emit(f"  logs         {facts['logs']}")
    emit(f"  supervisor   {facts['supervisor']['log']}")


def print_plan(plan: LaunchPlan) -> None:
    """The launch plan for a person (`up --dry-run`)."""
    import shlex

    emit(f"# cluster {plan.paths.name}: nothing was changed")
    emit(f"cd {shlex.quote(str(plan.working_directory))}")
    emit("env -i \\")
    for name, value in sorted(plan.environment.items()):
        emit(f"  {name}={shlex.quote(value)} \\")
    program, _unbuffered, _c, _code, *options = plan.argv
    emit(f"  {shlex.quote(program)} -u -c '(import ray.scripts.scripts)' \\")
    emit("  " + " \\\n    ".join(shlex.quote(option) for option in options))
    emit("# ports")
    for planned in plan.ports.ports:
        emit(f"#   127.0.0.1:{planned.port:<6} {planned.component.title}")
    emit(f"#   127.0.0.1:{plan.ports.first_worker}-{plan.ports.last_worker} workers and drivers")


def _print_overrides(facts: dict[str, Any]) -> None:
    for entry in facts["overrides"]:
        emit(f"  OVERRIDE     {entry['rule']} until {entry['until']}: {entry['reason']}")


def _days(facts: dict[str, Any]) -> str:
    certificate = facts["certificate"]
    day, left = certificate["expires"][:10], certificate["days_left"]
    if left < 0:
        return f"EXPIRED on {day}: secure-ray down, then up --head, renews it"
    return f"expires {day} ({left} days)"


def _limits(limits: dict[str, Any]) -> str:
    from secure_ray.settings.sizes import format_size

    parts = [
        f"{limits['num_cpus']} CPUs",
        f"{limits['num_gpus']} GPUs",
        f"{format_size(limits['memory'])} for tasks",
        f"{format_size(limits['object_store_memory'])} for objects",
        f"{format_size(limits['reserve'])} kept free",
    ]
    return ", ".join(parts + [f"{name} {amount:g}" for name, amount in limits["resources"].items()])
