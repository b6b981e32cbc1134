from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from secure_ray.base.errors import FailedError
from secure_ray.network.guard.library import guard_library, guarded_environment, self_test
from support.guarded import NODE, SOURCE, compile_strictly, rules_for

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the guard is for Linux")

RULES = rules_for(loopback=[8265], node_ports=[8266], relayed={8267: 9000})
LIBRARY = Path("/opt/secure-ray/guard.so")


def test_library_is_found_where_it_was_built(library: Path) -> None:
    assert guard_library(library.parent) == library


def test_missing_library_names_both_ways_out(tmp_path: Path) -> None:
    with pytest.raises(FailedError) as caught:
        guard_library(tmp_path)

    assert caught.value.code == "SR-GUARD-001"
    assert "install a C compiler" in caught.value.fix
    assert "--bind local" in caught.value.fix


@pytest.mark.parametrize(
    ("inherited", "preload"),
    [
        ("", f"{LIBRARY}"),
        ("/lib/a.so", f"{LIBRARY}:/lib/a.so"),
        ("/lib/a.so /lib/b.so", f"{LIBRARY}:/lib/a.so:/lib/b.so"),
        (f"/lib/a.so:{LIBRARY}", f"{LIBRARY}:/lib/a.so"),
    ],
)
def test_guard_comes_first_and_once(inherited: str, preload: str) -> None:
    variables = guarded_environment(LIBRARY, RULES, inherited_preload=inherited)

    assert variables == {**RULES.environment(), "LD_PRELOAD": preload}


@pytest.mark.parametrize("directory", ["my work", "a:b", "$ORIGIN", "a\tb"])
def test_path_that_the_loader_would_not_follow_is_refused(directory: str) -> None:
    with pytest.raises(FailedError) as caught:
        guarded_environment(Path("/opt") / directory / "guard.so", RULES)

    assert caught.value.code == "SR-GUARD-002"


def test_guard_that_holds(library: Path) -> None:
    self_test(library, RULES)


def test_address_of_another_host(library: Path) -> None:
    with pytest.raises(FailedError, match=r"SR-GUARD-003: .*no port of 192\.0\.2\.1 can be had"):
        self_test(library, rules_for("192.0.2.1"))


def test_library_that_does_not_load(tmp_path: Path) -> None:
    broken = tmp_path / "guard.so"
    broken.write_text("no library")

    with pytest.raises(FailedError, match="SR-GUARD-003"):
        self_test(broken, RULES)


# Each of the guard's rules taken out: the self-test must notice every one.
WEAKENED = {
    "wildcard kept": (
        "} else if (is_wildcard(asked)) {",
        "} else if (is_wildcard(asked)) { return true;",
    ),
    "foreign address let through": ("return is_loopback(asked);", "return true;"),
    "listen not watched": ("if (name_socket(descriptor, false, NULL) != 0)", "if (0)"),
    "loopback port on the node": (
        "rules.local || rules.is_loopback_port[asked->port];",
        "rules.local;",
    ),
    "loopback port of the wildcard on the node": (
        "placed->ip = !stays_inside ? rules.node :",
        "placed->ip = true ? rules.node :",
    ),
    "sendto not watched": (
        "if (given != NULL && !rules.local && name_sender",
        "if (0 && name_sender",
    ),
    "sendmsg not watched": (
        "if (message != NULL && message->msg_name != NULL && !rules.local &&",
        "if (0 && message->msg_name != NULL &&",
    ),
    "node port not found": ("return rules.is_node_port[asked->port];", "return false;"),
    "loopback port not found": ("return rules.is_loopback_port[asked->port];", "return false;"),
    "not relayed": ("return redirected->port != 0;", "return false;"),
    "no IPv6": ("given->sa_family == AF_INET6 && length", "0 && length"),
}


def test_guard_of_a_cluster_of_one_host_holds(library: Path) -> None:
    self_test(library, rules_for("127.0.0.1"))


@pytest.mark.parametrize("weakness", WEAKENED)
def test_weakened_guard_is_found_out(tmp_path: Path, weakness: str) -> None:
    directory = SOURCE / "secure_ray/network/guard"
    for file in (*directory.glob("*.c"), *directory.glob("*.h")):
        shutil.copy(file, tmp_path)
    strong, weak = WEAKENED[weakness]
    source = (tmp_path / "guard.c").read_text()
    assert source.count(strong) == 1
    (tmp_path / "guard.c").write_text(source.replace(strong, weak))
    library = compile_strictly(sorted(tmp_path.glob("*.c")), tmp_path / "weak.so")

    with pytest.raises(FailedError) as caught:
        self_test(library, rules_for(NODE))

    assert caught.value.code == "SR-GUARD-003"
    assert " goes to " in caught.value.cause or "refused" in caught.value.cause
