from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import textwrap

import psutil
import pytest

from secure_ray.base.errors import InconclusiveError
from secure_ray.network import linux_sockets, listeners
from secure_ray.network.listeners import (
    Kind,
    Listener,
    can_bind,
    has_ended,
    holder,
    listeners_of,
    unix_sockets_of,
)

ME = os.getpid()
NAME = psutil.Process().name()


def test_tcp_and_udp_listeners_of_this_process() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as tcp,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp,
    ):
        udp.bind(("127.0.0.1", 0))
        found = set(listeners_of([ME]))
        assert Listener("127.0.0.1", tcp.getsockname()[1], Kind.TCP, ME, NAME) in found
        assert Listener("127.0.0.1", udp.getsockname()[1], Kind.UDP, ME, NAME) in found


def test_both_readers_agree() -> None:
    with socket.create_server(("::1", 0), family=socket.AF_INET6):
        assert list(listeners_of([ME])) == listeners._by_psutil(ME)


def test_connected_and_unlistening_sockets_are_no_listeners() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as client,
        socket.socket() as held,
    ):
        held.bind(("127.0.0.1", 0))
        ports = {listener.port for listener in listeners_of([ME])}
        assert server.getsockname()[1] in ports
        assert not {client.getsockname()[1], held.getsockname()[1]} & ports


def test_inherited_listener_is_told_for_the_child_too() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        subprocess.Popen(
            [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=[server.fileno()]
        ) as child,
    ):
        found = listeners_of([ME, child.pid])
        holders = {entry.pid for entry in found if entry.port == server.getsockname()[1]}
        assert holders == {ME, child.pid}
        child.communicate(b"\n")


def test_ended_process_has_no_listeners() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        child.wait()
    assert listeners_of([child.pid]) == ()
    assert has_ended(child.pid)


def test_unreadable_process_is_told_not_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_pid: int) -> list[str]:
        raise PermissionError

    monkeypatch.setattr(linux_sockets, "socket_inodes", refuse)
    with pytest.raises(InconclusiveError, match=f"SR-PROBE-001.*{ME}"):
        listeners_of([ME])


def test_unreadable_table_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise PermissionError

    monkeypatch.setattr(linux_sockets, "waiting_sockets", refuse)
    with pytest.raises(InconclusiveError, match="SR-PROBE-002"):
        listeners_of([ME])


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
def test_zombie_is_not_unreadable_for_a_plain_user() -> None:
    code = """
        import ctypes, os
        from secure_ray.network.listeners import listeners_of
        os.setuid(65534)
        ctypes.CDLL(None).prctl(4, 1)  # PR_SET_DUMPABLE: what a program started by that user has
        child = os.fork()
        if child == 0:
            os._exit(0)
        os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
        try:
            os.listdir(f"/proc/{child}/fd")
        except PermissionError:
            print(listeners_of([child]))
        """
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        check=True,
        capture_output=True,
        text=True,
        env={"PYTHONPATH": ":".join(sys.path)},
    )
    assert run.stdout == "()\n"


def test_holder_names_the_process() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert holder(server.getsockname()[1]) == f"{NAME} (pid {ME})"


def test_holder_of_a_port_bound_without_listening() -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        assert holder(held.getsockname()[1]) == "a process that does not show itself"


def test_free_port_has_no_holder() -> None:
    assert holder(_port_that_was_free()) is None


def test_can_bind_a_free_port() -> None:
    assert can_bind("127.0.0.1", _port_that_was_free())
    assert can_bind("::1", _port_that_was_free())


def test_cannot_bind_where_somebody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert not can_bind("127.0.0.1", server.getsockname()[1])


def test_cannot_bind_a_port_that_is_held_without_listening() -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        assert not can_bind("127.0.0.1", held.getsockname()[1])


def test_can_bind_over_connections_that_linger() -> None:
    """A cluster that has just stopped leaves its ports in TIME_WAIT; the next start works."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        client = socket.create_connection(("127.0.0.1", port))
        accepted, _ = server.accept()
        accepted.close()  # who closes first lingers
        client.close()
    assert can_bind("127.0.0.1", port)


def test_cannot_bind_an_address_of_another_host() -> None:
    assert not can_bind("192.0.2.1", 0)


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="makes a network namespace")
@pytest.mark.parametrize("address", ["0.0.0.0", "::"])
def test_wildcard_listener_is_seen_and_blocks_the_port(address: str) -> None:
    code = f"""
        import json, os, socket
        from secure_ray.network.listeners import can_bind, listeners_of
        family = socket.AF_INET6 if ":" in "{address}" else socket.AF_INET
        kind = socket.socket(family)
        kind.bind(("{address}", 0))
        kind.listen()
        found = [entry.address for entry in listeners_of([os.getpid()])]
        print(json.dumps([found, can_bind("127.0.0.1", kind.getsockname()[1])]))
        """
    inside = f"ip link set lo up && exec {sys.executable} -c '{textwrap.dedent(code)}'"
    run = subprocess.run(
        ["unshare", "-n", "sh", "-c", inside],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": ":".join(sys.path)},
    )
    assert json.loads(run.stdout) == [[address], False]


def test_unix_sockets_by_name() -> None:
    name = f"secure-ray-test-{ME}"
    with socket.socket(socket.AF_UNIX) as abstract:
        abstract.bind(f"\0{name}")
        assert f"@{name}" in unix_sockets_of([ME])


def test_listener_for_a_person() -> None:
    assert str(Listener("::1", 80, Kind.TCP, 7, "gcs_server")) == "tcp [::1]:80 gcs_server (pid 7)"


def _port_that_was_free() -> int:
    with socket.socket() as attempt:
        attempt.bind(("127.0.0.1", 0))
        return int(attempt.getsockname()[1])
