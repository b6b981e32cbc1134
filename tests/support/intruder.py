"""What a user of this host can do to a cluster: run as root, it becomes that user and tries.

    python intruder.py UID   with what to try as JSON on standard input

Prints what worked as JSON: the paths that were read or written, the sockets and ports that let it
in, the processes whose memory or environment it saw. Everything that it needs is imported before
the change of user, who may not be able to read this Python.
"""

from __future__ import annotations

import encodings.idna  # noqa: F401  # every look-up of an address needs it
import json
import os
import socket
import sys
from pathlib import Path
from typing import Any

from secure_ray.network.grpc_probe import Outcome, probe_grpc, tls_client
from secure_ray.network.http_probe import NoAnswerError, probe_http

HERE = "127.0.0.1"
_PROCESS_FILES = ("environ", "mem", "maps")


def become(uid: int) -> None:
    if uid != os.geteuid():
        os.setgroups([])
        os.setgid(uid)
        os.setuid(uid)


def reads(path: str) -> bool:
    try:
        if Path(path).is_dir():
            list(Path(path).iterdir())
        else:
            os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK))
    except OSError:
        return False
    return True


def writes(path: str) -> bool:
    """Opens a file for writing, plants one in a directory and takes it away again."""
    target = Path(path)
    try:
        if target.is_dir():
            planted = target / f"planted-{os.getpid()}"
            planted.touch()
            planted.unlink()
        else:
            os.close(os.open(target, os.O_WRONLY | os.O_NONBLOCK))
    except OSError:
        return False
    return True


def connects(path: str) -> bool:
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(path)
    except OSError:
        return False
    return True


def asks(port: int, path: str) -> str:
    try:
        answer = probe_http(HERE, port, path, token=None, timeout=10)
    except NoAnswerError as error:
        return f"{port} {path} {error}"
    return f"{port} {path} {answer.status}"


def is_let_in(port: int) -> bool:
    clients = (None, tls_client(identity=None, authority=None))
    results = [probe_grpc(HERE, port, client=client, timeout=10) for client in clients]
    return any(result.outcome is not Outcome.REFUSED for result in results)


def sees(pid: str) -> list[str]:
    """What it can open of a process that tells more than its name."""
    files = [f"/proc/{pid}/{name}" for name in _PROCESS_FILES]
    return [path for path in files if reads(path)] + [f"/proc/{pid}/fd"] * reads(f"/proc/{pid}/fd")


def signals(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True


def command_lines() -> str:
    """All that the process list shows to anybody."""
    texts = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            texts.append(entry.read_text(errors="replace"))
        except OSError:
            continue
    return "\n".join(texts)


def try_all(order: dict[str, Any]) -> dict[str, Any]:
    shown = command_lines()
    return {
        "read": [path for path in order["paths"] if reads(path)],
        "written": [path for path in order["paths"] if writes(path)],
        "connected": [path for path in order["sockets"] if connects(path)],
        "answers": [asks(port, path) for port, path in order["http"]],
        "let in": [port for port in order["grpc"] if is_let_in(port)],
        "seen": [path for pid in order["pids"] for path in sees(pid)],
        "signalled": [pid for pid in order["pids"] if signals(pid)],
        "secrets": [secret for secret in order["secrets"] if secret in shown],
    }


if __name__ == "__main__":
    wanted = json.load(sys.stdin)
    become(int(sys.argv[1]))
    json.dump(try_all(wanted), sys.stdout)
