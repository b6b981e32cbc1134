"""The guard on live sockets of processes under it."""

from __future__ import annotations

import errno
import socket
import sys
from contextlib import closing
from typing import Any

import pytest

from support.guarded import NODE, Guarded, rules_for

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the guard is for Linux")

NODE_4, NODE_6, NODE_LINK = "10.77.0.1", "fd77::1", "fe80::77%guard0"

# A host of its own with the node's addresses.
HOST = (
    "unshare",
    "--net",
    "sh",
    "-ec",
    (
        "ip link set lo up; ip address add 10.77.0.1/32 dev lo;"
        "ip address add fd77::1/128 dev lo nodad; ip link add guard0 type veth peer name guard1;"
        "ip link set guard1 up; ip address add fe80::77/64 dev guard0 nodad; ip link set guard0 up;"
        'exec "$@"'
    ),
    "sh",
)


def free_port() -> int:
    with closing(socket.socket()) as made:
        made.bind(("127.0.0.1", 0))
        port: int = made.getsockname()[1]
        return port


@pytest.mark.parametrize("kind", ["TCP", "UDP"])
@pytest.mark.parametrize(
    ("family", "asked", "placed"),
    [
        ("INET", "0.0.0.0", NODE),
        ("INET", NODE, NODE),
        ("INET", "127.0.0.1", "127.0.0.1"),
        ("INET", "127.9.9.9", "127.9.9.9"),
        ("INET", "192.0.2.1", "EACCES"),
        ("INET", "224.0.0.1", "EACCES"),
        ("INET", "255.255.255.255", "EACCES"),
        ("INET6", "::", "::ffff:" + NODE),
        ("INET6", "::ffff:0.0.0.0", "::ffff:" + NODE),
        ("INET6", "::ffff:127.0.0.1", "::ffff:127.0.0.1"),
        ("INET6", "::ffff:192.0.2.1", "EACCES"),
        ("INET6", "::1", "::1"),
        ("INET6", "2001:db8::1", "EACCES"),
    ],
)
def test_bind(guarded: Guarded, family: str, kind: str, asked: str, placed: str) -> None:
    told = guarded.tell(f"told = bound({family}, {kind}, ({asked!r}, 0))", rules_for())

    assert told == placed


@pytest.mark.root
@pytest.mark.parametrize(
    ("node", "family", "asked", "only_six", "placed"),
    [
        (NODE_4, "INET", "0.0.0.0", None, NODE_4),
        (NODE_4, "INET", NODE_4, None, NODE_4),
        (NODE_4, "INET6", "::", False, "::ffff:10.77.0.1"),
        (NODE_4, "INET6", "::", True, "EACCES"),
        (NODE_4, "INET6", NODE_6, False, "EACCES"),
        (NODE_6, "INET6", "::", False, NODE_6),
        (NODE_6, "INET6", "::", True, NODE_6),
        (NODE_6, "INET6", NODE_6, None, NODE_6),
        (NODE_6, "INET6", "::ffff:0.0.0.0", False, NODE_6),
        (NODE_6, "INET", "0.0.0.0", None, "EACCES"),
        (NODE_6, "INET", NODE_4, None, "EACCES"),
        (NODE_6, "INET", "127.0.0.1", None, "127.0.0.1"),
        (NODE_LINK, "INET6", "::", None, "fe80::77"),
    ],
)
def test_bind_on_a_host_with_addresses(  # a table
    guarded: Guarded, node: str, family: str, asked: str, only_six: object, placed: str
) -> None:
    script = f"told = bound({family}, TCP, ({asked!r}, 0), {only_six})"

    assert guarded.tell(script, rules_for(node), prefix=HOST) == placed


@pytest.mark.root
def test_link_local_address_is_one_with_its_interface_only(guarded: Guarded) -> None:
    script = """
own, other = socket.if_nametoindex("guard0"), socket.if_nametoindex("guard1")
told = [bound(INET6, TCP, ("fe80::77", 0, 0, scope)) for scope in (own, other)]
"""
    assert guarded.tell(script, rules_for(NODE_LINK), prefix=HOST) == ["fe80::77", "EACCES"]


@pytest.mark.parametrize(
    ("family", "asked", "only_six", "placed"),
    [
        ("INET", "0.0.0.0", None, "127.0.0.1"),
        ("INET", NODE, None, "127.0.0.2"),
        ("INET", "127.0.0.1", None, "127.0.0.1"),
        ("INET", "192.0.2.1", None, "EACCES"),
        ("INET6", "::", False, "::ffff:127.0.0.1"),
        ("INET6", "::", True, "::1"),
        ("INET6", "::ffff:" + NODE, False, "::ffff:127.0.0.2"),
    ],
)
def test_bind_of_a_loopback_port(
    guarded: Guarded, family: str, asked: str, only_six: object, placed: str
) -> None:
    port = free_port()
    script = f"told = bound({family}, TCP, ({asked!r}, {port}), {only_six})"

    assert guarded.tell(script, rules_for(loopback=[port])) == placed


LOCAL = "127.0.0.1"


@pytest.mark.parametrize("kind", ["TCP", "UDP"])
@pytest.mark.parametrize(
    ("family", "asked", "only_six", "placed"),
    [
        ("INET", "0.0.0.0", None, "127.0.0.1"),
        ("INET", "127.0.0.1", None, "127.0.0.1"),
        ("INET", "127.9.9.9", None, "127.9.9.9"),
        ("INET", "192.0.2.1", None, "EACCES"),
        ("INET6", "::", False, "::ffff:127.0.0.1"),
        ("INET6", "::", True, "::1"),
        ("INET6", "::1", True, "::1"),
        ("INET6", "2001:db8::1", None, "EACCES"),
    ],
)
def test_bind_in_a_cluster_of_one_host(  # a table
    guarded: Guarded, kind: str, family: str, asked: str, only_six: object, placed: str
) -> None:
    script = f"told = bound({family}, {kind}, ({asked!r}, 0), {only_six})"

    assert guarded.tell(script, rules_for(LOCAL)) == placed


@pytest.mark.root
def test_host_of_one_cluster_sends_datagrams_out_as_before(guarded: Guarded) -> None:
    """A name server or a clock is asked so, and from loopback no other host can be reached."""
    script = f"""
with socket.socket(INET, UDP) as client:
    told = [client.sendto(b"?", ({NODE_4!r}, 9)), client.getsockname()[0]]
"""
    assert guarded.tell(script, rules_for(LOCAL), prefix=HOST) == [1, "0.0.0.0"]


@pytest.mark.root
@pytest.mark.parametrize("only_six", [True, False])
def test_loopback_port_on_a_host_with_ipv6_alone(guarded: Guarded, *, only_six: bool) -> None:
    script = f"told = bound(INET6, TCP, ({NODE_6!r}, 8265), {only_six})"

    told = guarded.tell(script, rules_for(NODE_6, loopback=[8265]), prefix=HOST)

    assert told == "::ffff:127.0.0.2"


def test_server_that_takes_the_address_and_loopback_gets_both(guarded: Guarded) -> None:
    """As Ray's agent does with its HTTP port."""
    port = free_port()
    script = f"""
servers = [socket.create_server((host, {port})) for host in ({NODE!r}, "127.0.0.1")]
told = []
for host in ({NODE!r}, "127.0.0.1"):
    with socket.create_connection((host, {port}), 5) as client:
        told.append(client.getpeername()[0])
"""
    assert guarded.tell(script, rules_for(loopback=[port])) == ["127.0.0.2", "127.0.0.1"]


@pytest.mark.parametrize(("family", "placed"), [("INET", NODE), ("INET6", "::ffff:" + NODE)])
def test_listen_without_bind(guarded: Guarded, family: str, placed: str) -> None:
    script = f"""
made = socket.socket({family})
made.listen()
told = made.getsockname()[0]
"""
    assert guarded.tell(script, rules_for()) == placed


def test_listen_on_what_was_bound_to_the_wildcard_elsewhere(guarded: Guarded) -> None:
    """A socket may come from a parent that is not guarded."""
    with closing(socket.socket()) as inherited:
        inherited.bind(("", 0))
        inherited.set_inheritable(True)  # its signature
        script = f"""
try:
    socket.socket(fileno={inherited.fileno()}).listen()
except OSError as error:
    told = errno.errorcode[error.errno]
"""
        told = guarded.tell(script, rules_for(), pass_fds=(inherited.fileno(),))

    assert told == "EACCES"


@pytest.mark.parametrize(
    "send", ["sender.sendto(b'-', target)", "sender.sendmsg([b'-'], [], 0, target)"]
)
def test_datagram_is_not_sent_from_the_wildcard(guarded: Guarded, send: str) -> None:
    script = f"""
receiver = socket.socket(INET, UDP)
receiver.bind(("127.0.0.1", 0))
target = receiver.getsockname()
sender = socket.socket(INET, UDP)
{send}
receiver.settimeout(5)
told = [sender.getsockname()[0], receiver.recvfrom(9)[1][0]]
"""
    assert guarded.tell(script, rules_for()) == [NODE, NODE]


_SEND_MANY = """
import ctypes, struct
libc = ctypes.CDLL(None, use_errno=True)

class Part(ctypes.Structure):
    _fields_ = [("base", ctypes.c_char_p), ("length", ctypes.c_size_t)]

class Message(ctypes.Structure):
    _fields_ = [("name", ctypes.c_char_p), ("name_length", ctypes.c_uint32),
                ("parts", ctypes.POINTER(Part)), ("count", ctypes.c_size_t),
                ("control", ctypes.c_void_p), ("control_length", ctypes.c_size_t),
                ("flags", ctypes.c_int), ("sent", ctypes.c_uint)]

def send_many(sender, port):
    name = struct.pack("=HH4s8x", INET, socket.htons(port), socket.inet_aton("127.0.0.1"))
    part = Part(b"-", 1)
    message = Message(name, 16, ctypes.pointer(part), 1, None, 0, 0, 0)
    return libc.sendmmsg(sender.fileno(), ctypes.byref(message), 1, 0)
"""


def test_many_datagrams_are_not_sent_from_the_wildcard(guarded: Guarded) -> None:
    """sendmmsg(2), which resolvers and QUIC libraries use."""
    script = f"""{_SEND_MANY}
receiver = socket.socket(INET, UDP)
receiver.bind(("127.0.0.1", 0))
sender = socket.socket(INET, UDP)
sent = send_many(sender, receiver.getsockname()[1])
receiver.settimeout(5)
told = [sent, sender.getsockname()[0], receiver.recvfrom(9)[1][0]]
"""
    assert guarded.tell(script, rules_for()) == [1, NODE, NODE]


@pytest.mark.parametrize(
    ("node", "family", "loopback"), [(NODE, "INET6", "::1"), ("::1", "INET", "127.0.0.1")]
)
def test_datagram_to_loopback_of_the_other_family_arrives(
    guarded: Guarded, node: str, family: str, loopback: str
) -> None:
    script = f"""
receiver = socket.socket({family}, UDP)
receiver.bind(("{loopback}", 0))
sender = socket.socket({family}, UDP)
sender.sendto(b"-", receiver.getsockname())
receiver.settimeout(5)
told = [sender.getsockname()[0], receiver.recvfrom(9)[1][0]]
"""
    assert guarded.tell(script, rules_for(node)) == [loopback, loopback]


@pytest.mark.parametrize("blocking", [True, False])
@pytest.mark.parametrize(
    ("family", "dialled"),
    [("INET", "127.0.0.1"), ("INET", "0.0.0.0"), ("INET6", "::1"), ("INET6", "::ffff:127.0.0.1")],
)
def test_connect_to_a_node_port_on_loopback(
    guarded: Guarded, family: str, dialled: str, *, blocking: bool
) -> None:
    port = free_port()
    script = f"""
import select
server = socket.create_server(({NODE!r}, {port}))
client = socket.socket({family})
client.setblocking({blocking})
result = client.connect_ex(({dialled!r}, {port}))
select.select([], [client], [], 5)
told = [result in ((0,) if {blocking} else (0, errno.EINPROGRESS)), client.getpeername()[0]]
"""
    reached = NODE if family == "INET" else "::ffff:" + NODE

    assert guarded.tell(script, rules_for(node_ports=[port])) == [True, reached]


def test_connect_to_a_relayed_port_of_another_host(guarded: Guarded) -> None:
    port, relay = free_port(), free_port()
    script = f"""
server = socket.create_server(("127.0.0.1", {relay}))
told = []
for family, host in ((INET, "192.0.2.9"), (INET6, "2001:db8::9"), (INET6, "::ffff:192.0.2.9")):
    with socket.socket(family) as client:
        client.settimeout(5)
        client.connect((host, {port}))
        told.append(client.getpeername()[:2])
"""
    mapped = ["::ffff:127.0.0.1", relay]

    told = guarded.tell(script, rules_for(relayed={port: relay}))

    assert told == [["127.0.0.1", relay], mapped, mapped]


def test_relayed_port_of_this_host_is_not_relayed(guarded: Guarded) -> None:
    port, relay = free_port(), free_port()
    script = f"""
server = socket.create_server(("127.0.0.1", {port}))
told = socket.create_connection(("127.0.0.1", {port}), 5).getpeername()
"""
    told = guarded.tell(script, rules_for(relayed={port: relay}))

    assert told == ["127.0.0.1", port]


def test_connected_datagram_sockets_are_left_alone(guarded: Guarded) -> None:
    """By one Ray finds out its own address."""
    port = free_port()
    script = f"""
asking = socket.socket(INET, UDP)
asking.connect(("127.0.0.1", {port}))
told = [asking.getpeername(), asking.getsockname()[0]]
"""
    told = guarded.tell(script, rules_for(node_ports=[port]))

    assert told == [["127.0.0.1", port], "127.0.0.1"]


def test_unix_sockets_are_left_alone(guarded: Guarded) -> None:
    script = """
server = socket.socket(socket.AF_UNIX)
server.bind("\\0guard-test-%d" % os.getpid())
server.listen()
client = socket.socket(socket.AF_UNIX)
client.connect(server.getsockname())
told = server.accept()[0] is not None
"""
    assert guarded.tell(script, rules_for()) is True


def test_address_family_that_linux_takes_for_ipv4(guarded: Guarded) -> None:
    script = """
import ctypes
made = socket.socket()
libc = ctypes.CDLL(None)
result = libc.bind(made.fileno(), bytes(16), 16)
told = [result, made.getsockname()[0]]
"""
    assert guarded.tell(script, rules_for()) == [0, NODE]


def test_ipv6_address_without_scope_is_read(guarded: Guarded) -> None:
    script = """
import ctypes, struct
made = socket.socket(INET6)
address = struct.pack("=HHI16s", INET6, 0, 0, bytes(16))
result = ctypes.CDLL(None).bind(made.fileno(), address, len(address))
told = [result, made.getsockname()[0]]
"""
    assert guarded.tell(script, rules_for()) == [0, "::ffff:" + NODE]


@pytest.mark.parametrize("length", [0, 1, 2, 15])
def test_address_that_is_too_short_fails_as_without_the_guard(
    guarded: Guarded, length: int
) -> None:
    script = f"""
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
told = []
for call in (libc.bind, libc.connect):
    call(socket.socket().fileno(), b"\\x02" + bytes(31), {length})
    told.append(errno.errorcode[ctypes.get_errno()])
"""
    expected = guarded.tell(script, rules_for(), changed={"LD_PRELOAD": None})

    assert guarded.tell(script, rules_for()) == expected


def test_errno_is_kept_and_failures_are_those_of_the_kernel(guarded: Guarded) -> None:
    script = """
import ctypes, struct
libc = ctypes.CDLL(None, use_errno=True)
told = []
def call(function, *arguments):
    ctypes.set_errno(77)
    told.append([function(*arguments), ctypes.get_errno()])
any_port = struct.pack("=HH12s", INET, 0, bytes(12))
made = socket.socket()
call(libc.bind, made.fileno(), any_port, 16)
call(libc.bind, made.fileno(), any_port, 16)
call(libc.listen, made.fileno(), 1)
unbound = socket.socket()
call(libc.listen, unbound.fileno(), 1)
call(libc.listen, 999, 1)
call(libc.bind, 999, any_port, 16)
call(libc.bind, made.fileno(), None, 16)
"""
    assert guarded.tell(script, rules_for()) == [
        [0, 77],
        [-1, errno.EINVAL],
        [0, 77],
        [0, 77],
        [-1, errno.EBADF],
        [-1, errno.EBADF],
        [-1, errno.EFAULT],
    ]


def test_refusal_is_one_line_that_says_who_and_what(guarded: Guarded) -> None:
    script = """
print(os.getpid())
bound(INET, TCP, ("192.0.2.1", 8080))
bound(INET6, TCP, ("2001:db8::1", 65535))
"""
    result = guarded.run(script, rules_for())
    begin = f"secure-ray guard: pid {result.stdout.strip()}: refused to be bound to"
    why = "neither the node's address nor loopback"

    assert result.stderr.splitlines() == [
        f"{begin} 192.0.2.1 port 8080: {why}",
        f"{begin} 2001:db8:0:0:0:0:0:1 port 65535: {why}",
    ]


@pytest.mark.parametrize(
    "changed",
    [
        {"SECURE_RAY_GUARD_NODE": None},
        {"SECURE_RAY_GUARD_LOOPBACK_PORTS": None},
        {"SECURE_RAY_GUARD_NODE_PORTS": None},
        {"SECURE_RAY_GUARD_RELAYED": None},
        {"SECURE_RAY_GUARD_NODE": ""},
        {"SECURE_RAY_GUARD_NODE": "0.0.0.0"},
        {"SECURE_RAY_GUARD_NODE": "::"},
        {"SECURE_RAY_GUARD_NODE": "::ffff:0.0.0.0"},
        {"SECURE_RAY_GUARD_NODE": "localhost"},
        {"SECURE_RAY_GUARD_NODE": "10.0.0.1 "},
        {"SECURE_RAY_GUARD_NODE": "1" * 300},
        {"SECURE_RAY_GUARD_NODE": "fe80::1%no-such-interface"},
        {"SECURE_RAY_GUARD_LOOPBACK_PORTS": "80,"},
        {"SECURE_RAY_GUARD_LOOPBACK_PORTS": ",80"},
        {"SECURE_RAY_GUARD_LOOPBACK_PORTS": "80 81"},
        {"SECURE_RAY_GUARD_LOOPBACK_PORTS": "0"},
        {"SECURE_RAY_GUARD_LOOPBACK_PORTS": "65536"},
        {"SECURE_RAY_GUARD_LOOPBACK_PORTS": "-1"},
        {"SECURE_RAY_GUARD_NODE_PORTS": "a"},
        {"SECURE_RAY_GUARD_RELAYED": "80"},
        {"SECURE_RAY_GUARD_RELAYED": "80:"},
        {"SECURE_RAY_GUARD_RELAYED": "80:0"},
        {"SECURE_RAY_GUARD_RELAYED": "80:81,"},
        {"SECURE_RAY_GUARD_RELAYED": "80:81;82:83"},
    ],
    ids=str,
)
def test_without_sound_rules_nothing_listens(
    guarded: Guarded, changed: dict[str, str | None]
) -> None:
    script = """
told = [bound(INET, TCP, ("", 0)), bound(INET, TCP, ("127.0.0.1", 0)), bound(INET6, UDP, ("::1", 0))]
try:
    socket.socket().listen()
except OSError as error:
    told.append(errno.errorcode[error.errno])
"""
    assert guarded.tell(script, rules_for(), changed=changed) == ["EACCES"] * 4


def test_many_threads_and_forks_at_once(guarded: Guarded) -> None:
    """Children of a process with threads bind as well; one that hung would outlive the time-out."""
    port = free_port()
    script = f"""
import threading
server = socket.create_server(({NODE!r}, {port}), backlog=128)
told = set()

def work():
    for _ in range(200):
        told.add(bound(INET, TCP, ("", 0)))
        told.add(bound(INET6, UDP, ("::", 0)))
        with socket.create_connection(("127.0.0.1", {port})) as client:
            told.add(client.getpeername()[0])
            server.accept()[0].close()

threads = [threading.Thread(target=work) for _ in range(8)]
for thread in threads:
    thread.start()
codes = set()
for _ in range(50):
    pid = os.fork()
    if pid == 0:
        os._exit(bound(INET, TCP, ("", 0)) != {NODE!r})
    codes.add(os.waitpid(pid, 0)[1])
for thread in threads:
    thread.join()
told = [sorted(told), sorted(codes)]
"""
    told: Any = guarded.tell(script, rules_for(node_ports=[port]))

    assert told == [[NODE, "::ffff:" + NODE], [0]]


def test_children_are_guarded(guarded: Guarded) -> None:
    script = """
import subprocess
child = "import socket; made = socket.socket(); made.listen(); print(made.getsockname()[0])"
told = subprocess.check_output([sys.executable, "-I", "-S", "-c", child], text=True).strip()
"""
    assert guarded.tell(script, rules_for()) == NODE
