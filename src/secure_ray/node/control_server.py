"""The supervisor's end of its socket: tells how far the cluster is, and takes the wish to stop.

`control` says what goes over it.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from secure_ray.node.control import is_same_user
from secure_ray.node.instance import ENDED

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from secure_ray.node.instance import Phase

_ASK_SECONDS = 5


class ControlServer:
    """Answers whoever asks.

    Args:
        now: The phase that the cluster is in, and why.
        stop: Set when somebody asks for a stop.
        finish: Set when somebody asks not to start Ray again once it has ended.
    """

    def __init__(
        self, now: Callable[[], tuple[Phase, str]], *, stop: asyncio.Event, finish: asyncio.Event
    ) -> None:
        self._now = now
        self._stop = stop
        self._finish = finish
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
            if asked == {"do": "stop"}:
                self._stop.set()
                await self._report_end(writer)
            else:
                if asked == {"do": "finish"}:
                    self._finish.set()
                self._send(writer)
            await writer.drain()
        except (OSError, ValueError, asyncio.TimeoutError):
            return  # a client that went away or speaks another language
        finally:
            writer.close()

    async def _report_end(self, writer: asyncio.StreamWriter) -> None:
        async with self._changed:
            while not self._send(writer):
                await self._changed.wait()

    def _send(self, writer: asyncio.StreamWriter) -> bool:
        """Write where the cluster is; whether that is its end."""
        phase, reason = self._now()
        done = phase in ENDED
        answer = {"phase": phase.value, "reason": reason, "done": done}
        writer.write(json.dumps(answer).encode() + b"\n")
        return done
