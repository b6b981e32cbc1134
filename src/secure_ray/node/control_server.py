"""The supervisor's end of its socket: tells how far the cluster is, and takes wishes.

`control` says what goes over it.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from secure_ray.node.control import is_same_user
from secure_ray.node.instance import ENDED, Phase

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

_ASK_SECONDS = 5
_UP = frozenset({Phase.RUNNING, Phase.DEGRADED})


@dataclass(frozen=True)
class Standing:
    """Where a node is: its phase, why, and which life of its Ray that is, counted from 1."""

    phase: Phase
    reason: str
    life: int = 1

    def has_ended(self) -> bool:
        """Whether nothing comes after it."""
        return self.phase in ENDED

    def is_settled_after(self, life: int) -> bool:
        """Whether the restart of that life is over, well or not."""
        again = self.life > life and self.phase in _UP
        return again or self.phase in ENDED or self.phase is Phase.WAITING


@dataclass(frozen=True)
class Wishes:
    """What somebody has asked for.

    Attributes:
        stop: To end Ray and the supervisor.
        finish: Not to start Ray again once it has ended.
        restart: To end Ray in order and start it again.
    """

    stop: asyncio.Event = field(default_factory=asyncio.Event)
    finish: asyncio.Event = field(default_factory=asyncio.Event)
    restart: asyncio.Event = field(default_factory=asyncio.Event)


class ControlServer:
    """Answers whoever asks.

    Args:
        now: Where the node is.
        wishes: Where it is noted what somebody asks for.
    """

    def __init__(self, now: Callable[[], Standing], wishes: Wishes) -> None:
        self._now = now
        self._wishes = wishes
        self._changed = asyncio.Condition()

    @asynccontextmanager
    async def serving(self, path: Path) -> AsyncIterator[None]:
        """Answer at `path` as long as this lasts."""
        path.unlink(missing_ok=True)  # noqa: ASYNC240  # one system call
        server = await asyncio.start_unix_server(self._answer, path=path)
        try:
            yield
        finally:
            server.close()
            path.unlink(missing_ok=True)  # noqa: ASYNC240  # one system call

    async def tell(self) -> None:
        """Tell those who wait for the end that the phase has changed."""
        async with self._changed:
            self._changed.notify_all()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if not is_same_user(writer.get_extra_info("socket")):
                return
            asked = json.loads(await asyncio.wait_for(reader.readline(), _ASK_SECONDS))
            await self._fulfil(asked, writer)
            await writer.drain()
        except (OSError, ValueError, asyncio.TimeoutError):
            return  # a client that went away or speaks another language
        finally:
            writer.close()

    async def _fulfil(self, asked: object, writer: asyncio.StreamWriter) -> None:
        if asked == {"do": "stop"}:
            self._wishes.stop.set()
            await self._report(writer, until=Standing.has_ended)
        elif asked == {"do": "restart"}:
            life = self._now().life
            self._wishes.restart.set()
            await self._report(writer, until=lambda now: now.is_settled_after(life))
        else:
            if asked == {"do": "finish"}:
                self._wishes.finish.set()
            await self._report(writer, until=Standing.has_ended, once=True)

    async def _report(
        self,
        writer: asyncio.StreamWriter,
        *,
        until: Callable[[Standing], bool],
        once: bool = False,
    ) -> None:
        """Write where the node is, again at each change, up to what is waited for."""
        async with self._changed:
            while True:
                now = self._now()
                done = until(now)
                answer = {"phase": now.phase.value, "reason": now.reason, "done": done}
                writer.write(json.dumps(answer).encode() + b"\n")
                if done or once:
                    return
                await self._changed.wait()
