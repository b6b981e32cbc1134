"""The other nodes of the cluster, kept in a file; and, where we may, a firewall that goes by it.

The firewall is a second layer: what listens is bound to the node's address and asks for mutual TLS
without it too. Only root can have it, and only a table of our own is touched.
"""

from __future__ import annotations

import asyncio
import json
import os
import threading
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from secure_ray.base.errors import SecureRayError
from secure_ray.base.files import is_there, read_private, write_private
from secure_ray.policy.addresses import canonical

if TYPE_CHECKING:
    import logging
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from secure_ray.node.paths import ClusterPaths
    from secure_ray.node.plan import LaunchPlan

_LOOK_SECONDS = 1.0


def read_neighbours(paths: ClusterPaths) -> tuple[str, ...]:
    """The addresses of the cluster's other nodes, as far as this one knows them.

    Raises:
        FailedError: the file is not ours alone.
    """
    return _read(paths.neighbours) or ()


def note_printed(paths: ClusterPaths, peers: tuple[str, ...]) -> None:
    """Remember whom rules let in that go into the kernel by another hand, which nobody follows.

    Raises:
        FailedError: it cannot be written.
    """
    # Of another user's cluster (as root, with --user) nothing is written.
    if paths.directory.is_dir() and paths.directory.lstat().st_uid == os.geteuid():
        write_private(paths.walled, json.dumps(peers).encode())


def printed_rules(paths: ClusterPaths) -> tuple[str, ...] | None:
    """Whom those rules let in; None when none were printed.

    Raises:
        FailedError: the file is not ours alone.
    """
    return _read(paths.walled)


def _read(path: Path) -> tuple[str, ...] | None:
    if not is_there(path):
        return None
    try:
        return tuple(str(one) for one in json.loads(read_private(path)))
    except ValueError:
        return None  # half of what another version wrote; the next look writes it anew


@asynccontextmanager
async def keeping_neighbours(
    plan: LaunchPlan, others: Callable[[], tuple[str, ...] | None], *, log: logging.Logger
) -> AsyncIterator[Callable[[], frozenset[str]]]:
    """Keep the file, and the firewall where `plan` has one, as long as this lasts.

    Gives what tells the nodes' addresses at any moment, this one's included.

    Args:
        plan: The node's plan.
        others: The other nodes' addresses; None while they are not known. Runs in a thread.
        log: Told what goes wrong; nothing ends for it.
    """
    keeper = _Keeper(plan, others, log)
    await asyncio.to_thread(keeper.look)
    task = asyncio.create_task(keeper.run())
    try:
        yield keeper.known
    finally:
        task.cancel()
        await asyncio.wait({task})
        await asyncio.to_thread(keeper.end)


def remove_firewall(plan: LaunchPlan) -> None:
    """Take the table of the cluster of `plan` out of the kernel, if it is there and may be ours.

    Raises:
        FailedError: it is there and cannot be removed.
    """
    from secure_ray.network.nft import remove_table
    from secure_ray.policy.firewall import nft_removal, table_name

    if plan.firewall and os.geteuid() == 0:
        table = table_name(plan.paths.name, os.geteuid())
        remove_table(table, nft_removal(table))


class _Keeper:
    def __init__(
        self, plan: LaunchPlan, others: Callable[[], tuple[str, ...] | None], log: logging.Logger
    ) -> None:
        self._plan = plan
        self._others = others
        self._log = log
        self._walled = plan.firewall and os.geteuid() == 0
        # A look runs in a thread, which goes on when its task is cancelled.
        self._looking = threading.Lock()
        self._ended = False
        self._found: tuple[str, ...] | None = None
        self._let_in: tuple[str, ...] | None = None
        self._written: tuple[str, ...] | None = None
        self._told = ""

    async def run(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            await asyncio.to_thread(self.look)

    def look(self) -> None:
        """Act on what has changed since the last look; what fails is told, and tried again."""
        try:
            with self._looking:
                if not self._ended:
                    self._follow()
        except SecureRayError as error:
            self._tell(f"{error.code}: {error.cause}")
        except Exception as error:  # noqa: BLE001  # nobody else would go on keeping the firewall
            # Not its message: it may hold a value that must not be shown.
            self._tell(f"the list of nodes is not followed: {type(error).__name__}")
        else:
            self._told = ""

    def known(self) -> frozenset[str]:
        """The nodes' addresses, this one's included."""
        place = self._plan.place
        return frozenset(map(canonical, (place.address, place.head, *(self._found or ()))))

    def _follow(self) -> None:
        found = self._others()
        if self._found is None and found is None:  # the head has not told yet
            known = {self._plan.place.head, *read_neighbours(self._plan.paths)}
            found = tuple(sorted(known))
        if found is None:
            return
        self._found = found
        try:
            if self._walled and found != self._let_in:
                self._apply(found)
                self._let_in = found
        finally:
            # Each whatever becomes of the other: the firewall follows on a full disk, and the list
            # on a host without nft, whose own rules are made from it.
            if found != self._written:
                write_private(self._plan.paths.neighbours, json.dumps(found).encode())
                self._written = found

    def end(self) -> None:
        """Take the firewall out again, for good."""
        with self._looking:
            self._ended = True
            if self._let_in is None:
                return
            try:
                remove_firewall(self._plan)
            except SecureRayError as error:
                self._tell(f"{error.code}: {error.cause}")

    def _apply(self, others: tuple[str, ...]) -> None:
        from secure_ray.network.nft import apply_rules
        from secure_ray.policy.firewall import join_networks, nft_rules, plan_firewall

        plan = self._plan
        walls = plan_firewall(
            plan.paths.name,
            plan.ports,
            uid=os.geteuid(),
            peers=others,
            joining=join_networks(plan.place.address, plan.join_from),
        )
        apply_rules(nft_rules(walls))
        self._log.info("firewall: %s let in", ", ".join(others) or "no other node")

    def _tell(self, what: str) -> None:
        if what != self._told:
            self._log.warning("%s", what)
        self._told = what
