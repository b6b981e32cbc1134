"""The hook inside `ray start`: when the shortcut is taken, and that it loses no error."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from secure_ray.node.start_hook import apply, parallel_node, shortcut_fits
from support.plans import SOURCE

if TYPE_CHECKING:
    from pathlib import Path


class Node:
    """Starts as Ray's does: control store, dashboard, raylet."""

    def __init__(self, *, fails: BaseException | None = None, head: bool = True) -> None:
        self.order: list[str] = ["gcs"]
        self.fails = fails
        self.raylet_started = threading.Event()
        if head:
            self.start_api_server(include_dashboard=True, raise_on_failure=True)
        self.order.append("raylet")
        self.raylet_started.set()

    def start_api_server(self, *, include_dashboard: bool, raise_on_failure: bool) -> None:
        assert (include_dashboard, raise_on_failure) == (True, True)
        # With Ray's own order this would never come.
        assert self.raylet_started.wait(30)
        self.order.append("dashboard")
        if self.fails is not None:
            raise self.fails


class Renamed:
    def start_dashboard(self) -> None: ...


class Positional:
    def start_api_server(self, include_dashboard: bool, port: int) -> None: ...  # noqa: FBT001


@pytest.mark.parametrize(
    ("version", "node", "fits"),
    [
        ("2.52.1", Node, True),
        ("2.56.0", Node, True),
        ("2.60.0", Node, True),
        ("2.60.0rc1", Node, True),
        ("2.60", Node, True),
        ("2.51.9", Node, False),
        ("2.61.0", Node, False),
        ("3.0.0", Node, False),
        ("1.99.0", Node, False),
        ("2", Node, False),
        ("", Node, False),
        ("nightly", Node, False),
        ("2.60.0", Renamed, False),
        ("2.60.0", Positional, False),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_shortcut_is_for_tested_versions_that_look_as_expected(
    version: str, node: type, *, fits: bool
) -> None:
    assert shortcut_fits(version, node) == fits


def test_shortcut_fits_the_installed_ray() -> None:
    script = (
        "import ray; from ray._private.node import Node;"
        "from secure_ray.node.start_hook import shortcut_fits;"
        "print(shortcut_fits(ray.__version__, Node))"
    )
    environment = {"PYTHONPATH": str(SOURCE)}
    told = subprocess.check_output([sys.executable, "-c", script], env=environment, text=True)

    assert told == "True\n"


def test_dashboard_starts_beside_the_raylet_and_is_waited_for() -> None:
    node = parallel_node(Node)()

    assert node.order == ["gcs", "raylet", "dashboard"]


@pytest.mark.parametrize("error", [RuntimeError("no dashboard"), SystemExit(1)], ids=repr)
def test_error_of_the_dashboard_is_raised(error: BaseException) -> None:
    with pytest.raises(type(error)) as caught:
        parallel_node(Node)(fails=error)

    assert caught.value is error


class Monitored(Node):
    """With the processes that nobody waits for; each is a real one."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.all_processes: dict[str, list[Any]] = {}
        self._process = process
        super().__init__()

    def start_monitor(self) -> None:
        self.all_processes["monitor"] = [SimpleNamespace(process=self._process)]

    def start_log_monitor(self) -> None:
        self.all_processes["log_monitor"] = [SimpleNamespace(process=self._process)]


@pytest.mark.parametrize("start", ["start_monitor", "start_log_monitor"])
def test_what_nobody_waits_for_gives_way(start: str) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        before = os.getpriority(os.PRIO_PROCESS, process.pid)
        getattr(parallel_node(Monitored)(process), start)()
        assert os.getpriority(os.PRIO_PROCESS, process.pid) == max(before, 5)


def test_what_has_ended_already_does_not_stop_the_start() -> None:
    with subprocess.Popen([sys.executable, "-c", "pass"]) as process:
        process.wait()
    parallel_node(Monitored)(process).start_monitor()


def test_node_without_a_dashboard_waits_for_none() -> None:
    assert parallel_node(Node)(head=False).order == ["gcs", "raylet"]


def test_thread_that_started_the_dashboard_stays() -> None:
    before = threading.active_count()
    parallel_node(Node)()

    names = [thread.name for thread in threading.enumerate() if thread.daemon]
    assert threading.active_count() == before + 1
    assert "dashboard-start" in names


def test_replacement_is_named_like_the_original() -> None:
    """Ray logs and pickles by name."""
    assert parallel_node(Node).__name__ == "Node"
    assert issubclass(parallel_node(Node), Node)


@pytest.fixture
def fake_ray(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Ray with the node of this file; `apply` may change it."""
    ray, private = ModuleType("ray"), ModuleType("ray._private")
    ray.__version__ = "2.60.0"  # type: ignore[attr-defined]  # a stand-in
    private.node = SimpleNamespace(Node=Node)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.setitem(sys.modules, "ray._private", private)
    monkeypatch.delenv("SECURE_RAY_START", raising=False)
    return private


@pytest.mark.parametrize("head", [True, False])
def test_ray_client_stays_off(
    fake_ray: Any, monkeypatch: pytest.MonkeyPatch, *, head: bool
) -> None:
    monkeypatch.setenv("SECURE_RAY_SESSIONS", "/run/ray")
    parameters = SimpleNamespace(ray_client_server_port=10001)

    apply(parameters, head)

    assert parameters.ray_client_server_port is None
    assert (fake_ray.node.Node is Node) is not head


@pytest.mark.usefixtures("fake_ray")
def test_worker_keeps_its_sessions_where_it_was_told_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """An older Ray takes the head's path, whatever --temp-dir says."""
    monkeypatch.setenv("SECURE_RAY_SESSIONS", "/run/ray")
    parameters = SimpleNamespace(ray_client_server_port=None, temp_dir=None)

    apply(parameters, head=False)

    assert parameters.temp_dir == "/run/ray"


@pytest.mark.usefixtures("fake_ray")
def test_head_has_its_sessions_where_the_command_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECURE_RAY_SESSIONS", "/run/ray")
    parameters = SimpleNamespace(ray_client_server_port=None, temp_dir="/other")

    apply(parameters, head=True)

    assert parameters.temp_dir == "/other"


@pytest.mark.parametrize("reason", ["order", "version", "signature"])
def test_ray_starts_in_its_own_order_when_the_shortcut_is_not_for_it(
    fake_ray: Any, monkeypatch: pytest.MonkeyPatch, reason: str
) -> None:
    node: type = Node
    if reason == "order":
        monkeypatch.setenv("SECURE_RAY_START", "stock")
    elif reason == "version":
        monkeypatch.setattr(sys.modules["ray"], "__version__", "2.99.0")
    else:
        node = fake_ray.node.Node = Positional
    parameters = SimpleNamespace(ray_client_server_port=10001)

    apply(parameters, head=True)

    assert fake_ray.node.Node is node
    assert parameters.ray_client_server_port is None


def test_store_is_for_gcs_server_alone(
    fake_ray: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SECURE_RAY_START", "stock")
    monkeypatch.setenv("RAY_gcs_storage", "rocksdb")
    monkeypatch.setenv("SECURE_RAY_REDIS_PASSWORD_FILE", "/password")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    for name in ("check_persisted_session_name", "start_gcs_server", "_init_gcs_client"):
        monkeypatch.setattr(Node, name, None, raising=False)
    services = SimpleNamespace(start_ray_process=None)
    monkeypatch.setattr(sys.modules["ray._private"], "services", services, raising=False)

    apply(SimpleNamespace(ray_client_server_port=10001), head=True)

    names = [kind.__qualname__.split(".")[0] for kind in fake_ray.node.Node.__mro__]
    assert names[:3] == ["password_node", "withdrawing_node", "Node"]
