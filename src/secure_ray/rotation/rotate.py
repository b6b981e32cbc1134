"""A rotation from its beginning to its end, or back.

    leaves     a new leaf for every node; then node after node starts its Ray with it
    issuing    the same under a new issuing CA; whom nodes trust does not change
    root       begin_root; every node; gate; switch_root; every node; gate; retire_root

How far it has come is read from the files of the authority and from what each node shows.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from secure_ray.base.errors import FailedError, IncompleteError
from secure_ray.node.identity import lifetimes, pki_paths, renew_head
from secure_ray.node.restarting import restart
from secure_ray.pki import rotation as steps
from secure_ray.pki.authority import Stage
from secure_ray.pki.profiles import Owner
from secure_ray.pki.rotation_facts import read_rotation
from secure_ray.rotation.gates import require_settled, require_trust
from secure_ray.rotation.nodes import cluster_facts, head_facts
from secure_ray.rotation.roll import is_settled

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from secure_ray.base.clock import Clock
    from secure_ray.node.plan import LaunchPlan
    from secure_ray.pki.store import PkiPaths
    from secure_ray.rotation.nodes import NodeFacts
    from secure_ray.rotation.roll import Roller

_AWAY = frozenset({"silent", "joined"})


@dataclass(frozen=True)
class Rotation:
    """One run of a rotation.

    Attributes:
        plan: The head's, which runs.
        roller: Moves workers.
        clock: The time.
        at_once: How many workers may be away at the same time.
        excluded: Names of nodes that are left as they are.
        may_restart_head: Whether the head may restart although its work ends with it.
        show: Told what is done.
    """

    plan: LaunchPlan
    roller: Roller
    clock: Clock
    at_once: int
    excluded: frozenset[str]
    may_restart_head: Callable[[], bool]
    show: Callable[[str], None]

    @property
    def _pki(self) -> PkiPaths:
        return pki_paths(self.plan.paths, self.plan.pki)

    @property
    def _owner(self) -> Owner:
        return Owner(self.plan.paths.name, self.plan.cluster_id)

    @property
    def stage(self) -> Stage:
        """How far a rotation of the root has come."""
        return read_rotation(self._pki, self.plan.paths.name, now=self.clock()).stage

    def leaves(self) -> None:
        """A new leaf with a new key on every node, and every Ray started with it."""
        self._require_stage(Stage.STEADY)
        self._settle(fresh=True)

    def issuing(self) -> None:
        """The same, under a new issuing CA."""
        self._require_stage(Stage.STEADY)
        self.show("a new issuing CA")
        steps.renew_issuing(
            self._pki, self._owner, now=self.clock(), lifetimes=lifetimes(self.plan.pki)
        )
        self._settle()

    def root(self) -> None:
        """Another root CA, from wherever an earlier run has left off."""
        now = self.clock()
        if self.stage in {Stage.STEADY, Stage.RETURNING}:
            self.show("a new root CA, vouched for by the old one")
            steps.begin_root(self._pki, self._owner, now=now, lifetimes=lifetimes(self.plan.pki))
        if self.stage is Stage.BRIDGED:
            self.show("every node gets to trust both root CAs")
            nodes = self._settle()
            self._require_trust(nodes, side="new", trusted=True)
            steps.switch_root(self._pki, self._owner, now=self.clock())
        self.show("every node leaves the old root CA")
        nodes = self._settle()
        self._require_trust(nodes, side="old", trusted=False)
        steps.retire_root(self._pki, self._owner, now=self.clock())

    def resume(self) -> None:
        """Go on with what is half-way."""
        if self.stage in {Stage.BRIDGED, Stage.SWITCHED}:
            self.root()
        elif self.stage is Stage.RETURNING:
            self.rollback()
        else:
            self._settle(late=True)

    def rollback(self) -> None:
        """Take a rotation of the root back; possible until the old one is retired.

        Raises:
            FailedError: there is none to take back.
        """
        if self.stage is Stage.STEADY:
            raise FailedError(
                "SR-ROT-005",
                "there is no rotation of the root CA to take back",
                fix="secure-ray certs show tells what there is; secure-ray rotate-certs --resume "
                "finishes a rotation of leaves",
            )
        if self.stage is Stage.SWITCHED:
            steps.switch_back(self._pki, self._owner, now=self.clock())
        if self.stage is Stage.BRIDGED:
            if not self._all_trust_old():
                self.show("every node gets to trust both root CAs again")
                self._require_trust(self._settle(), side="old", trusted=True)
            steps.abandon_root(self._pki, self._owner, now=self.clock())
        self.show("every node goes back to the old root CA")
        nodes = self._settle()
        self._require_trust(nodes, side="new", trusted=False)
        steps.forget_new_root(self._pki, self._owner, now=self.clock())

    def _all_trust_old(self) -> bool:
        """Whether the old root is trusted on every disk and at every port.

        A node that does not would neither take a leaf of it nor let in who has one.
        """
        now = self.clock()
        old = read_rotation(self._pki, self.plan.paths.name, now=now).old.root.fingerprint
        nodes = (*self._workers(now), head_facts(self.plan))
        if not all(node.disk and old in node.disk.trusts for node in nodes):
            return False
        try:
            self._require_trust(nodes, side="old", trusted=True)
        except IncompleteError:
            return False
        return True

    def _settle(self, *, fresh: bool = False, late: bool = False) -> Sequence[NodeFacts]:
        """Have every node show what is issued now; returns them as they are then.

        Args:
            fresh: Give every node a new leaf, whatever it has.
            late: Finish a rotation of leaves: who has an older one than those that wait for a
                restart gets a new one as well.
        """
        now = self.clock()
        renew_head(self.plan, now=now, fresh=fresh)
        head = head_facts(self.plan)
        workers = self._workers(now)
        stale = [node for node in workers if fresh or (not late and not _wears(node, head))]
        if late:
            stale = _left_behind((*workers, head))
        for node in self._at_once(stale, self.roller.renew):
            self.show(f"{node.name}: certificate until {_day(node)}")
        due = [node for node in self._workers(self.clock()) if not is_settled(node)]
        for node in self._at_once(due, self.roller.restart):
            self.show(f"{node.name}: done")
        self._settle_head()
        nodes = (*self._workers(self.clock()), head_facts(self.plan))
        require_settled(nodes)
        return nodes

    def _settle_head(self) -> None:
        if is_settled(head_facts(self.plan)):
            return
        if not self.may_restart_head():
            raise IncompleteError(
                "SR-ROT-003",
                "all but the head are done: its restart would end the work that hangs on it",
                fix="secure-ray rotate-certs --resume --accept-head-restart, when that may be",
            )
        self.show("head: Ray starts again")
        restart(self.plan.paths, lambda event: self.show(f"head: {event['event']}"))
        self.show("head: done")

    def _workers(self, now: datetime) -> list[NodeFacts]:
        found = [node for node in cluster_facts(self.plan, now=now) if not node.is_head]
        taken = [node for node in found if node.name not in self.excluded]
        away = [node.name for node in taken if node.state in _AWAY or node.disk is None]
        if away:
            raise IncompleteError(
                "SR-ROT-001",
                f"the head hears nothing of {', '.join(away)}",
                fix="start it there (secure-ray up), or leave it out: --exclude "
                f"{away[0]}; it joins again later",
            )
        return taken

    def _at_once(
        self, nodes: Sequence[NodeFacts], act: Callable[[NodeFacts], NodeFacts]
    ) -> Sequence[NodeFacts]:
        with ThreadPoolExecutor(self.at_once) as threads:
            return list(threads.map(act, nodes))

    def _require_trust(self, nodes: Sequence[NodeFacts], *, side: str, trusted: bool) -> None:
        require_trust(
            self.plan,
            nodes,
            side="old" if side == "old" else "new",
            trusted=trusted,
            now=self.clock(),
        )

    def _require_stage(self, wanted: Stage) -> None:
        if self.stage is not wanted:
            raise IncompleteError(
                "SR-ROT-006",
                f"the root CA is being rotated ({self.stage.value})",
                fix="secure-ray rotate-certs --resume finishes that, --rollback takes it back",
            )


def _wears(node: NodeFacts, head: NodeFacts) -> bool:
    return (
        node.disk is not None
        and head.disk is not None
        and (node.disk.issuer, node.disk.trusts) == (head.disk.issuer, head.disk.trusts)
    )


def _left_behind(nodes: Sequence[NodeFacts]) -> list[NodeFacts]:
    """Workers whose leaf is of another issuing CA, or older than those that wait for a restart."""
    head = nodes[-1]
    waiting = [node.disk.expires for node in nodes if node.disk and not is_settled(node)]
    first = min(waiting, default=None)
    return [
        node
        for node in nodes[:-1]
        if node.disk is not None
        and head.disk is not None
        and (node.disk.issuer != head.disk.issuer or (first and node.disk.expires < first))
    ]


def _day(node: NodeFacts) -> str:
    return f"{node.disk.expires:%Y-%m-%d %H:%M} UTC" if node.disk else "?"
