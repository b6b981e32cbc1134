"""Those whom the door does not know: how often they may knock, and how one of them becomes a node."""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from secure_ray.gateway.nodes.answers import SAME_VERSION, RefusalError, too_early
from secure_ray.gateway.nodes.enrolment import UNPROVEN, Enrolment
from secure_ray.gateway.nodes.nonces import Nonces
from secure_ray.policy.admission import Rejection
from secure_ray.policy.rate_limit import Gatekeeper, Limits, network_of, source_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from secure_ray.base.clock import Clock
    from secure_ray.node.messages import Application, Welcome

_LINE_SECONDS = 60.0
_MOST_LINES = 1000


class Strangers:
    """Lets in who proves a join token, and bounds what all others can ask for.

    Args:
        enrolment: Checks proofs and admits.
        limits: How much is let through.
        near: The door's own address, for `source_of`.
        clock: The time.
        in_thread: Runs a function that blocks.
    """

    def __init__(
        self,
        enrolment: Enrolment,
        limits: Limits,
        *,
        near: str,
        clock: Clock,
        in_thread: Callable[..., Awaitable[Any]],
    ) -> None:
        self._enrolment = enrolment
        self._gate = Gatekeeper(limits)
        self._nonces = Nonces()
        self._near = near
        self._clock = clock
        self._in_thread = in_thread

    def knock(self, address: str) -> None:
        """Count a request of a stranger at `address`.

        Raises:
            RefusalError: it is one too many.
        """
        if wait := self._gate.knock(source_of(address, self._near), time.monotonic()):
            raise too_early("SR-JOIN-018", "too many requests come from this address", wait)

    def challenge(self) -> str:
        """A nonce for a join."""
        return self._nonces.make(time.monotonic())

    async def join(self, application: Application, address: str) -> Welcome:
        """What a new node needs, for one that proves that it holds a token.

        Raises:
            RefusalError: it does not, or may not join.
            SecureRayError: nothing can be issued now.
        """
        self._require_nonce(self._nonces.is_fresh(application.nonce, time.monotonic()))
        wanted = await self._proven(application, source_of(address, self._near))
        now = time.monotonic()
        who = (application, wanted)
        # Who is refused, or is given what it has already, must not use up what is for all.
        if await self._in_thread(self._is_due, *who, address) and (wait := self._gate.join(now)):
            raise too_early("SR-JOIN-018", "too many nodes join at once", wait)
        self._require_nonce(self._nonces.spend(application.nonce, now))
        outcome: Welcome | Rejection = await self._in_thread(self._admit, *who, address)
        if isinstance(outcome, Rejection):
            raise RefusalError(outcome, 403)
        return outcome

    def _is_due(self, application: Application, wanted: Any, address: str) -> bool:
        return self._enrolment.is_due(application, wanted, address=address, now=self._clock())

    def _admit(self, application: Application, wanted: Any, address: str) -> object:
        return self._enrolment.admit(application, wanted, address=address, now=self._clock())

    async def _proven(self, application: Application, source: str) -> Any:
        from secure_ray.pki.proof import UnusableRequestError

        token = application.token
        if wait := self._gate.locked(source, token, time.monotonic()):
            cause = "too many wrong proofs for this join token came from this address"
            raise too_early("SR-JOIN-019", cause, wait)
        try:
            wanted = await self._in_thread(
                self._enrolment.prove, application, application.nonce.encode()
            )
        except UnusableRequestError as error:
            why = Rejection(
                "SR-JOIN-021", f"the certificate request is not accepted: {error}", SAME_VERSION
            )
            raise RefusalError(why, 400) from None
        if wanted is None:
            self._gate.bad_proof(source, token, time.monotonic())
            raise RefusalError(UNPROVEN, 403)
        return wanted

    @staticmethod
    def _require_nonce(good: bool) -> None:  # noqa: FBT001  # reads as a sentence
        if not good:
            why = Rejection(
                "SR-JOIN-020", "the nonce is not fresh any more", "join again: it gets a new one"
            )
            raise RefusalError(why, 409)


@dataclass
class _Line:
    written: float
    left_out: int = 0


class RefusalLines:
    """Lines for the log about refusals: one a minute for each network and code, not one for each."""

    def __init__(self) -> None:
        self._lines: OrderedDict[tuple[str, str], _Line] = OrderedDict()

    def line(self, address: str, why: Rejection, now: float) -> str | None:
        """What to write; None when a line about the like was written lately.

        Args:
            address: Who was refused; "" when the connection is gone.
            why: Why.
            now: Seconds of a clock that is not set back.
        """
        key = (network_of(address) if address else "", why.code)
        last = self._lines.get(key)
        if last is not None and now - last.written < _LINE_SECONDS:
            last.left_out += 1
            return None
        more = f" (and {last.left_out} more since the last such line)" if last else ""
        self._lines[key] = _Line(now)
        self._lines.move_to_end(key)
        if len(self._lines) > _MOST_LINES:
            self._lines.popitem(last=False)
        return f"refused {address or '-'} {why.code}: {why.cause}{more}"
