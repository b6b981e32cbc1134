"""What an event loop of a test must have done before it is closed."""

from __future__ import annotations

import asyncio
from typing import Any

_TURNS = 5


async def settled() -> None:
    """End every connection of this loop.

    TLS says goodbye first, and waits for the answer; a loop that is closed meanwhile would leave
    its sockets to the collector.
    """
    loop: Any = asyncio.get_running_loop()
    await _turns()
    for key in list(loop._selector.get_map().values()):
        readers = [handle for handle in key.data if handle is not None]
        transport = getattr(readers[0]._callback, "__self__", None)
        if isinstance(transport, asyncio.Transport):
            transport.abort()
    await _turns()


async def _turns() -> None:
    for _ in range(_TURNS):
        await asyncio.sleep(0)
