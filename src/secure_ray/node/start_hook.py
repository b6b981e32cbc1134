"""Runs inside `ray start` before any process: Ray's own hook, `RAY_START_HOOK`.

Three changes. The Ray Client server stays off: `ray start` has no option for that and starts it
whenever its dependencies are there (Ray 2.60.0, scripts/scripts.py). What opens the control store is
for gcs_server alone (`store_hook`). And processes are started in another order and at another
priority: the dashboard beside the raylet instead of before it, which saves about a quarter of the
start, since Ray's own order has each wait for the other's imports; and what nobody waits for gives
way to what somebody does.

The last is a shortcut through private names. It is taken only for the Ray versions that the
tests cover and only when the names are as expected; otherwise Ray starts in its own order.
"""

from __future__ import annotations

import inspect
import os
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from secure_ray.node.store_hook import (
    PASSWORD_FILE_VARIABLE,
    STORE_VARIABLES,
    password_node,
    withdrawing_node,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

FIRST_TESTED = (2, 52)
LAST_TESTED = (2, 60)
_EXPECTED_PARAMETERS = ["self", "include_dashboard", "raise_on_failure"]
# Workers run at 15 (Ray 2.60.0, RAY_worker_niceness).
_GIVES_WAY = 5


def apply(ray_params: Any, head: bool) -> None:  # noqa: FBT001  # Ray's signature
    """Change what `ray start` is about to do. `RAY_START_HOOK` names this function."""
    # Only `--ray-client-server-port`, which policy refuses, could have set another port.
    ray_params.ray_client_server_port = None
    if not head:
        # An older Ray ignores --temp-dir here and would use the head's path (Ray 2.52.1,
        # scripts/scripts.py `start`), which need not exist on this host, or be ours.
        ray_params.temp_dir = os.environ["SECURE_RAY_SESSIONS"]
        return
    import ray
    from ray._private import node as ray_node

    if not os.environ.keys().isdisjoint(STORE_VARIABLES):
        ray_node.Node = withdrawing_node(ray_node.Node)
    if PASSWORD_FILE_VARIABLE in os.environ:
        from ray._private import services

        directory = Path(os.environ["TMPDIR"])
        ray_node.Node = password_node(ray_node.Node, services, directory)
    if os.environ.get("SECURE_RAY_START") != "stock" and shortcut_fits(
        ray.__version__, ray_node.Node
    ):
        ray_node.Node = parallel_node(ray_node.Node)


def shortcut_fits(version: str, node_class: type) -> bool:
    """Whether this Ray is one that the shortcut was tested with, and looks like it."""
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    method = getattr(node_class, "start_api_server", None)
    return (
        FIRST_TESTED <= numbers <= LAST_TESTED
        and method is not None
        and list(inspect.signature(method).parameters) == _EXPECTED_PARAMETERS
    )


def parallel_node(node_class: Any) -> Any:
    """A subclass of Ray's `Node` that waits for the dashboard last instead of first."""

    class ParallelNode(node_class):  # type: ignore[misc]  # Ray has no types
        def __init__(self, *arguments: Any, **options: Any) -> None:
            self._dashboard_done = threading.Event()
            self._dashboard_done.set()  # until it is asked for
            self._dashboard_error: BaseException | None = None
            super().__init__(*arguments, **options)
            self._dashboard_done.wait()
            if self._dashboard_error is not None:
                raise self._dashboard_error

        def start_api_server(self, *, include_dashboard: bool, raise_on_failure: bool) -> None:
            start = super().start_api_server
            self._dashboard_done.clear()

            def run() -> None:
                try:
                    start(include_dashboard=include_dashboard, raise_on_failure=raise_on_failure)
                except BaseException as error:  # noqa: BLE001  # raised again by __init__
                    self._dashboard_error = error
                self._dashboard_done.set()
                # The kernel ends the dashboard with the thread that started it
                # (PR_SET_PDEATHSIG, prctl(2)), so the thread stays as long as the process.
                threading.Event().wait()

            threading.Thread(target=run, name="dashboard-start", daemon=True).start()

        def start_monitor(self) -> None:
            super().start_monitor()
            give_way(self.all_processes.get("monitor", ()))

        def start_log_monitor(self) -> None:
            super().start_log_monitor()
            give_way(self.all_processes.get("log_monitor", ()))

    ParallelNode.__name__ = node_class.__name__
    return ParallelNode


def give_way(started: Iterable[Any]) -> None:
    """Let what is needed sooner have the CPU before these processes of Ray's `Node`.

    Called right after they were started, so that all of their threads inherit it (setpriority(2)).
    """
    for one in started:
        with suppress(OSError):  # it has ended already; Ray will say so
            os.setpriority(os.PRIO_PROCESS, one.process.pid, _GIVES_WAY)
