"""What `up` and `status` tell of a cluster: facts as plain data, and their print-out.

Reads the supervisor's record as plain JSON: building the typed plan would cost more than all else.
"""

from __future__ import annotations

import json
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from secure_ray.base.commands import DEFAULT_CLUSTER, command
from secure_ray.base.files import is_there, read_private
from secure_ray.cli.output import emit
from secure_ray.node.instance import supervisor_lives
from secure_ray.node.place import HEAD_NAME, Place
from secure_ray.node.start_again import start_again
from secure_ray.policy.addresses import LOOPBACK, host_port

if TYPE_CHECKING:
    from secure_ray.node.paths import ClusterPaths
    from secure_ray.node.plan import LaunchPlan

HEALTHY = "running"
UP = frozenset({HEALTHY, "degraded"})
UNREADABLE = "unreadable"
WAITING = "waiting"
_STORES = {
    "memory": "memory: a restart of this head ends all that runs",
    "rocksdb": "rocksdb, on this disk: the cluster outlives a restart of this head",
    "redis": "redis: the cluster outlives a restart of this head",
}
_ALIVE = {"starting", "proving", "running", "degraded", "waiting", "stopping"}
_ENDED = {"stopped", "failed"}


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
        return facts | {"start": start_again(paths)}
    text = read_private(paths.instance)
    try:
        return facts | _of_record(json.loads(text), paths)
    except (ValueError, KeyError, TypeError):
        again = f"{command('down', paths.name)}, then {start_again(paths)}"
        reason = f"its record was written by another version; {again}, renews it"
        return facts | {"state": UNREADABLE, "reason": reason}


def _of_record(record: dict[str, Any], paths: ClusterPaths) -> dict[str, Any]:
    alive = supervisor_lives(paths)
    state, reason = record["phase"], record["reason"]
    if state in _ALIVE and not alive:
        stop = command("down", paths.name)
        state, reason = "died", f"the supervisor was killed; {stop} stops what is left"
    plan = record["plan"]
    facts = {
        "state": state,
        "reason": reason,
        "since": record["since"],
        "started": record["started"],
        "node": plan["place"]["address"],
        "name": plan["place"]["name"],
        "head": plan["place"]["head"],
        "versions": plan["versions"],
        "limits": plan["limits"],
        "overrides": plan["overrides"],
        "store": plan.get("store", "memory") if plan["place"]["name"] == HEAD_NAME else None,
        "certificate": _certificate(record["certificate_expires"]),
        "logs": f"{plan['run']['directory']}/ray/session_latest/logs",
        "supervisor": {"pid": record["supervisor"]["pid"], "log": str(paths.log)},
    }
    if alive:
        facts |= _ports(plan["ports"], plan["place"]["address"])
    return facts


def _certificate(expires: str) -> dict[str, Any]:
    left = datetime.fromisoformat(expires) - datetime.now(timezone.utc)
    return {"expires": expires, "days_left": left.days}


def _ports(plan: dict[str, Any], node: str) -> dict[str, Any]:
    """Each planned port with the process that has it, and the drivers and workers behind them."""
    holders = _holders()
    ports = [
        {
            "component": entry["component"]["name"],
            "title": entry["component"]["title"],
            "protocol": entry["component"]["protocol"],
            "address": node if entry["component"]["reach"] == "node" else LOOPBACK,
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
    ports = {entry["component"]: entry["port"] for entry in facts.get("ports", ())}
    place = _place(facts)
    where = "" if place.is_private else f" on {LOOPBACK}"
    state = "up" if facts["state"] == HEALTHY else f"up, {facts['state']}"
    emit(f"cluster {name} is {state}: {len(ports)} services{where}, {facts['reason']}")
    if place.is_private:
        emit(f"  node         {place}; what is plain HTTP stays on {LOOPBACK}")
        _print_doors(facts)
    emit(f"  identity     token and mutual TLS on; certificate {_days(facts)}")
    emit(f"  limits       {_limits(facts['limits'])}")
    _print_store(facts)
    _print_overrides(facts)
    if "dashboard" in ports:
        emit(f"  dashboard    http://127.0.0.1:{ports['dashboard']}")
    emit(f"  state        {facts['directory']}")
    for notice in facts.get("notices", ()):
        emit(f"  note         {notice}")
    emit("")
    emit("next")
    emit(f"  {command('run', name)} -- python script.py      a program with plain ray.init()")
    join = "" if name == DEFAULT_CLUSTER else f', cluster="{name}"'
    emit(f'  from secure_ray import secure_init; secure_init("auto"{join})')
    if place.is_private and place.is_head:
        emit(f"  {command('join-token create', name)}      a string with which another host joins")
    emit("  " + "  |  ".join(command(words, name) for words in ("status", "audit", "down")))


def print_status(facts: dict[str, Any]) -> None:
    """The whole of `secure-ray status`."""
    name, state = facts["cluster"], facts["state"]
    if state == UNREADABLE:
        emit(f"cluster {name}: {facts['reason']}")
        return
    if state == "none":
        emit(f"cluster {name}: never started ({facts['start']})")
        return
    emit(
        f"cluster {name}: {state}, {facts['reason']}"
        if facts["reason"]
        else f"cluster {name}: {state}"
    )
    emit(f"  since        {facts['since']} (started {facts['started']})")
    if state in _ALIVE:
        emit(f"  node         {_place(facts)}, supervisor pid {facts['supervisor']['pid']}")
    if state == WAITING:
        emit(f"  next         on the head at {facts['head']}: secure-ray status")
    if state in _ENDED:
        emit(f"  next         {command(_place(facts).start, name)}")
    versions = ", ".join(f"{package} {version}" for package, version in facts["versions"].items())
    emit(f"  versions     {versions}")
    emit(f"  certificate  {_days(facts)}")
    emit(f"  limits       {_limits(facts['limits'])}")
    note = facts["limits"]["isolation_note"]
    emit(f"  isolation    {'on' if facts['limits']['isolation'] else f'off: {note}'}")
    _print_store(facts)
    _print_overrides(facts)
    wide = max((len(_at(entry, facts)) for entry in facts.get("ports", ())), default=0)
    wide = max(wide, 12)
    for entry in facts.get("ports", ()):
        emit(
            f"  {_at(entry, facts):<{wide}} {entry['title']:<24} {entry['protocol']:<9} {entry['holder']}"
        )
    for entry in facts.get("workers", ()):
        emit(f"  {entry['port']:<{wide}} {'worker or driver':<24} {'grpc':<9} {entry['holder']}")
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
    for expected in plan.ports.expected(plan.place.address):
        where = host_port(expected.addresses[0], expected.port)
        emit(f"#   {where:<16} {expected.planned.component.title}")
    workers = f"{plan.ports.first_worker}-{plan.ports.last_worker}"
    emit(f"#   {plan.place.address}:{workers} workers and drivers")


def _place(facts: dict[str, Any]) -> Place:
    return Place(facts["name"], facts["node"], facts["head"])


def _at(entry: dict[str, Any], facts: dict[str, Any]) -> str:
    """Where a service listens; in local mode all are at one address, which goes without saying."""
    port: int = entry["port"]
    return host_port(entry["address"], port) if _place(facts).is_private else str(port)


def _print_doors(facts: dict[str, Any]) -> None:
    ours = {"nodes": "door", "relay": "relay"}
    told = [
        f"{ours[entry['component']]} at {_at(entry, facts)}"
        for entry in facts.get("ports", ())
        if entry["component"] in ours
    ]
    if told:
        emit(f"  for nodes    {', '.join(told)}; mutual TLS")


def _print_store(facts: dict[str, Any]) -> None:
    if facts["store"] is not None:
        emit(f"  store        {_STORES[facts['store']]}")


def _print_overrides(facts: dict[str, Any]) -> None:
    for entry in facts["overrides"]:
        emit(f"  OVERRIDE     {entry['rule']} until {entry['until']}: {entry['reason']}")


def _days(facts: dict[str, Any]) -> str:
    certificate = facts["certificate"]
    day, left = certificate["expires"][:10], certificate["days_left"]
    if left < 0:
        return f"EXPIRED on {day}: {_renewal(facts)}"
    return f"expires {day} ({left} days)"


def _renewal(facts: dict[str, Any]) -> str:
    name, place = facts["cluster"], _place(facts)
    if not place.is_head:
        return "join again, with a string from secure-ray join-token create on the head"
    return f"{command('down', name)}, then {command(place.start, name)}, renews it"


def _limits(limits: dict[str, Any]) -> str:
    from secure_ray.settings.sizes import format_size

    parts = [
        _count(limits["num_cpus"], "CPU"),
        _count(limits["num_gpus"], "GPU"),
        f"{format_size(limits['memory'])} for tasks",
        f"{format_size(limits['object_store_memory'])} for objects",
        f"{format_size(limits['reserve'])} kept free",
    ]
    return ", ".join(parts + [f"{name} {amount:g}" for name, amount in limits["resources"].items()])


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"
