"""Reads what the user writes after `--` as options of `ray start`.

Every word must be judged as Ray's parser (click) will read it, so whatever the two could read
differently is refused: abbreviations, positional words, a value that looks like an option.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from secure_ray.base.errors import UsageError
from secure_ray.policy.knobs import Kind
from secure_ray.policy.request import Request
from secure_ray.policy.values import shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_OPTION = re.compile(r"--[a-z0-9][a-z0-9-]*")

# Ray 2.52.1 to 2.60.0, scripts/scripts.py `start`. `--include-dashboard` and
# `--include-log-monitor` look like switches but take a value.
SWITCHES = frozenset(
    {
        "--head",
        "--block",
        "--no-redirect-output",
        "--enable-object-reconstruction",
        "--no-monitor",
        "--ray-debugger-external",
        "--disable-usage-stats",
        "--enable-resource-isolation",
        "--verbose",
        "-v",
    }
)
WITH_VALUE = frozenset(
    {
        "--node-ip-address",
        "--address",
        "--port",
        "--node-name",
        "--redis-username",
        "--redis-password",
        "--redis-shard-ports",
        "--object-manager-port",
        "--node-manager-port",
        "--min-worker-port",
        "--max-worker-port",
        "--worker-port-list",
        "--ray-client-server-port",
        "--memory",
        "--object-store-memory",
        "--num-cpus",
        "--num-gpus",
        "--resources",
        "--include-dashboard",
        "--dashboard-host",
        "--dashboard-port",
        "--dashboard-agent-listen-port",
        "--dashboard-agent-grpc-port",
        "--runtime-env-agent-port",
        "--plasma-directory",
        "--object-spilling-directory",
        "--autoscaling-config",
        "--temp-dir",
        "--system-config",
        "--metrics-export-port",
        "--tracing-startup-hook",
        "--labels",
        "--labels-file",
        "--include-log-monitor",
        "--system-reserved-cpu",
        "--system-reserved-memory",
        "--cgroup-path",
        "--proxy-server-url",
        "--log-style",
        "--log-color",
    }
)
OPTIONS = SWITCHES | WITH_VALUE


def parse_ray_flags(argv: Sequence[str]) -> tuple[Request, ...]:
    """One request per option, in order. A switch has the value True.

    An option that Ray 2.60.0 does not have takes the word behind it as its value unless that
    begins with a dash; `review` refuses it unless the user allows it.

    Raises:
        UsageError: a word is not an option, an option is abbreviated, or its value is missing,
            ambiguous or too much.
    """
    requests = []
    words = list(argv)
    while words:
        option, separator, attached = words.pop(0).partition("=")
        _require_option(option)
        if separator:
            value: object = _attached_value(option, attached)
        else:
            value = _next_value(option, words)
        requests.append(Request(Kind.FLAG, option, value, f"flag {option}"))
    return tuple(requests)


def render_ray_flags(requests: Iterable[Request]) -> tuple[str, ...]:
    """The requests as words that Ray's parser can read in one way only."""
    return tuple(
        request.name if request.value is True else f"{request.name}={request.value}"
        for request in requests
    )


def _require_option(option: str) -> None:
    if option in OPTIONS:
        return
    if not option.startswith("-"):
        raise _unreadable(
            f"{shown(option)!r} is not an option of `ray start`", "write options as --name=value"
        )
    if not _OPTION.fullmatch(option):
        raise _unreadable(
            f"{shown(option)!r} is not a whole option of `ray start`",
            "write options in full, each as a word of its own: --name=value",
        )
    meant = sorted(known for known in OPTIONS if known.startswith(option))
    if meant:
        raise _unreadable(f"{option} is abbreviated", f"write {' or '.join(meant)}")


def _attached_value(option: str, value: str) -> str:
    if option in SWITCHES:
        raise _unreadable(f"{option} takes no value", f"write {option} alone, or leave it out")
    return value


def _next_value(option: str, words: list[str]) -> object:
    if option in SWITCHES:
        return True
    has_value = bool(words) and not words[0].startswith("-")
    if has_value:
        return words.pop(0)
    if option in WITH_VALUE:
        raise _unreadable(f"{option} has no value", f"write {option}=VALUE")
    return True


def _unreadable(cause: str, fix: str) -> UsageError:
    return UsageError("SR-RAY-009", cause, fix=fix)
