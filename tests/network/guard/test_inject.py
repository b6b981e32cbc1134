"""The guard put into processes that run already."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from support.guarded import NODE, SOURCE, Guarded, compile_strictly, rules_for

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the guard is for Linux")

WITHOUT = {"LD_PRELOAD": None}

BEGIN = f"""
sys.path.insert(0, {str(SOURCE)!r})
from pathlib import Path
from secure_ray.base.errors import FailedError
from secure_ray.network.guard.inject import inject, require_injected
from secure_ray.network.guard.rules import GuardRules
"""


def begin(library: Path) -> str:
    return BEGIN + (
        f"library = Path({str(library)!r})\n"
        f"rules = GuardRules({NODE!r}, frozenset(), frozenset({{8266}}))\n"
    )


@pytest.fixture
def module(tmp_path: Path) -> Path:
    """A library that listens; importing it as a module fails, but leaves it loaded."""
    source = tmp_path / "late.c"
    source.write_text("""
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#pragma GCC visibility push(default)
unsigned listening(void);
/* The address that a wildcard bind leads to, in host order. */
unsigned listening(void)
{
    struct sockaddr_in at = {.sin_family = AF_INET};
    socklen_t length = sizeof at;
    int made = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(made, (struct sockaddr *)&at, sizeof at) != 0)
        return 1;
    getsockname(made, (struct sockaddr *)&at, &length);
    return ntohl(at.sin_addr.s_addr);
}
""")
    return compile_strictly([source], tmp_path / "late.so")


def test_sockets_of_a_running_process(guarded: Guarded) -> None:
    script = (
        begin(guarded.library)
        + """
before = bound(INET, TCP, ("", 0))
inject(library, rules)
unbound = socket.socket()
unbound.listen()
told = [before, bound(INET, TCP, ("", 0)), bound(INET, TCP, ("192.0.2.1", 0)), unbound.getsockname()[0]]
"""
    )
    told = guarded.tell(script, rules_for(), changed=WITHOUT)

    assert told == ["0.0.0.0", NODE, "EACCES", NODE]


def test_connections_of_a_running_process(guarded: Guarded) -> None:
    script = (
        begin(guarded.library)
        + """
port = free_port()
inject(library, GuardRules(rules.node, frozenset(), frozenset({port})))
server = socket.create_server((rules.node, port))
told = socket.create_connection(("127.0.0.1", port), 5).getpeername()[0]
"""
    )
    assert guarded.tell(script, rules_for(), changed=WITHOUT) == NODE


def test_children_get_it_too(guarded: Guarded) -> None:
    script = (
        begin(guarded.library)
        + """
import subprocess
inject(library, rules)
child = "import socket; made = socket.socket(); made.listen(); print(made.getsockname()[0])"
told = subprocess.check_output([sys.executable, "-I", "-S", "-c", child], text=True).strip()
"""
    )
    assert guarded.tell(script, rules_for(), changed=WITHOUT) == NODE


def test_twice_is_once_and_other_rules_are_refused(guarded: Guarded) -> None:
    script = (
        begin(guarded.library)
        + """
inject(library, rules)
inject(library, rules)
before = dict(os.environ)
try:
    inject(library, GuardRules("127.0.0.9", frozenset(), frozenset()))
except FailedError as error:
    told = [error.code, os.environ == before, bound(INET, TCP, ("", 0))]
"""
    )
    told = guarded.tell(script, rules_for(), changed=WITHOUT)

    assert told == ["SR-GUARD-004", True, NODE]


@pytest.mark.parametrize(("node", "expected"), [(NODE, "as before"), ("127.0.0.9", "SR-GUARD-004")])
def test_process_that_was_started_under_the_guard(
    guarded: Guarded, node: str, expected: str
) -> None:
    script = (
        begin(guarded.library)
        + f"""
try:
    inject(library, GuardRules({node!r}, frozenset(), frozenset()))
    told = "as before"
except FailedError as error:
    told = error.code
"""
    )
    assert guarded.tell(script, rules_for()) == expected


def test_modules_that_are_imported_later(guarded: Guarded, module: Path) -> None:
    script = (
        begin(guarded.library)
        + f"""
import ctypes
from importlib.machinery import ExtensionFileLoader
from importlib.util import module_from_spec, spec_from_loader
inject(library, rules)
loader = ExtensionFileLoader("late", {str(module)!r})
try:
    module_from_spec(spec_from_loader("late", loader))
except ImportError:
    pass
require_injected(library)
listening = ctypes.CDLL({str(module)!r}, os.RTLD_NOLOAD | os.RTLD_NOW).listening
told = listening() & 0xFFFFFFFF
"""
    )
    assert guarded.tell(script, rules_for(), changed=WITHOUT) == 0x7F000005


def test_library_that_came_unseen_is_found_and_can_be_reached(
    guarded: Guarded, module: Path
) -> None:
    script = (
        begin(guarded.library)
        + f"""
import ctypes
inject(library, rules)
late = ctypes.CDLL({str(module)!r})
told = [late.listening()]
try:
    require_injected(library)
except FailedError as error:
    told += [error.code, {str(module)!r} in error.cause]
inject(library, rules)
told.append(late.listening())
"""
    )
    told = guarded.tell(script, rules_for(), changed=WITHOUT)

    assert told == [0, "SR-GUARD-005", True, 0x7F000005]


def test_process_without_the_guard_is_found(guarded: Guarded) -> None:
    script = (
        begin(guarded.library)
        + """
try:
    require_injected(library)
except FailedError as error:
    told = error.code
"""
    )
    assert guarded.tell(script, rules_for(), changed=WITHOUT) == "SR-GUARD-005"


def test_what_is_no_library_is_refused_and_leaves_no_trace(
    guarded: Guarded, tmp_path: Path
) -> None:
    broken = tmp_path / "guard.so"
    broken.write_text("no library")
    script = (
        begin(broken)
        + """
before = dict(os.environ)
try:
    inject(library, rules)
except FailedError as error:
    told = [error.code, os.environ == before]
"""
    )
    told = guarded.tell(script, rules_for(), changed=WITHOUT)

    assert told == ["SR-GUARD-004", True]


def test_while_other_threads_open_sockets(guarded: Guarded) -> None:
    script = (
        begin(guarded.library)
        + """
import threading
stop = threading.Event()
def work():
    while not stop.is_set():
        bound(INET, TCP, ("", 0))
threads = [threading.Thread(target=work) for _ in range(8)]
for thread in threads:
    thread.start()
for _ in range(50):
    inject(library, rules)
told = bound(INET, TCP, ("", 0))
stop.set()
for thread in threads:
    thread.join()
"""
    )
    assert guarded.tell(script, rules_for(), changed=WITHOUT) == NODE


def test_other_platforms_are_refused(guarded: Guarded) -> None:
    script = (
        begin(guarded.library)
        + """
import platform
platform.machine = lambda: "riscv64"
try:
    inject(library, rules)
except FailedError as error:
    told = [error.code, bound(INET, TCP, ("", 0))]
"""
    )
    told = guarded.tell(script, rules_for(), changed=WITHOUT)

    assert told == ["SR-GUARD-004", "0.0.0.0"]
