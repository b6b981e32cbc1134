"""A systemd unit that runs `secure-ray up --block`: of a head, or of a worker that has joined.

Every value is checked before it goes into the unit: a line break in one would be a directive.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from secure_ray.base.errors import UsageError
from secure_ray.deploy.render import render

TEMPLATE = "systemd/secure-ray.service.j2"
# systemd.io/USER_NAMES, strict mode.
_USER = re.compile(r"[a-z_][a-z0-9_-]{0,30}")
_CLUSTER = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?")
# An address, with the interface of a link-local one, or a name; policy decides what it may be.
_BIND = re.compile(r"[A-Za-z0-9:][A-Za-z0-9:._-]{0,252}(?:%[A-Za-z0-9._-]{1,15})?")
# systemd.unit(5): "@" would make it a template unit.
_UNIT = re.compile(r"[A-Za-z0-9][A-Za-z0-9:_.-]{0,200}")
# Quotes, backslash and dollar have a meaning of their own in ExecStart (systemd.service(5)).
_UNQUOTABLE = re.compile(r"[\"'\\$]")


@dataclass(frozen=True)
class UnitRequest:
    """What the unit should run.

    Attributes:
        user: The account that Ray and its jobs run as.
        executable: Absolute path of `secure-ray`.
        name: Name of the unit without `.service`; "" makes one from the cluster.
        cluster: The cluster, "" for the default one.
        config: Absolute path of the settings file, "" to search for it.
        home: SECURE_RAY_HOME for the unit, "" for the user's own.
        bind: Where a head listens, "" for what the settings say.
        worker: Whether it is a worker, which knows its head and address since it joined.
    """

    user: str
    executable: str
    name: str = ""
    cluster: str = ""
    config: str = ""
    home: str = ""
    bind: str = ""
    worker: bool = False

    @property
    def file_name(self) -> str:
        """The name of the unit's file."""
        suffix = f"-{self.cluster}" if self.cluster else ""
        return f"{self.name or 'secure-ray' + suffix}.service"


def render_unit(request: UnitRequest) -> str:
    """The unit's text.

    Raises:
        UsageError: a value cannot stand in a unit, a worker is told where to listen, or the user
            is root.
    """
    _require(_USER, request.user, "--user", "the name of an account, for example ray")
    if request.user == "root":
        raise UsageError(
            "SR-DEPLOY-002",
            "Ray would run as root, and with it whatever its jobs contain",
            fix="make an account for it (useradd --create-home ray) and give --user ray",
        )
    if request.worker and request.bind:
        raise UsageError(
            "SR-DEPLOY-001",
            "--bind does not go with --worker: a worker listens where it reaches its head from",
            fix="leave one of them out",
        )
    _require_sound(request)
    values = {
        "user": request.user,
        "executable": request.executable,
        "cluster": request.cluster,
        "config": request.config,
        "home": request.home,
        "bind": request.bind.replace("%", "%%"),
        "worker": request.worker,
        "needs_network": request.worker or request.bind not in {"", "local"},
    }
    return render(TEMPLATE, values, {"quoted": _quoted})


def _require_sound(request: UnitRequest) -> None:
    wanted = (
        (_CLUSTER, request.cluster, "--cluster", "a cluster name, for example team-a"),
        (_BIND, request.bind, "--bind", "local, private or an address of this host"),
        (_UNIT, request.name, "--name", "the name of a unit, for example secure-ray"),
    )
    for pattern, value, option, example in wanted:
        if value:
            _require(pattern, value, option, example)
    _require_path(request.executable, "--executable")
    for path, option in ((request.config, "--config"), (request.home, "--home")):
        if path:
            _require_path(path, option)


def _quoted(text: str) -> str:
    # A per cent sign begins a specifier (systemd.unit(5)).
    return '"' + text.replace("%", "%%") + '"'


def _require(pattern: re.Pattern[str], value: str, option: str, wanted: str) -> None:
    if not pattern.fullmatch(value):
        raise UsageError(
            "SR-DEPLOY-001", f"{option} {value!r} cannot stand in a unit", fix=f"give {wanted}"
        )


def _require_path(value: str, option: str) -> None:
    if not value.startswith("/") or not value.isprintable() or _UNQUOTABLE.search(value):
        raise UsageError(
            "SR-DEPLOY-001",
            f"{option} {value!r} cannot stand in a unit",
            fix="give an absolute path without quotes, backslashes, dollar signs and line breaks",
        )
