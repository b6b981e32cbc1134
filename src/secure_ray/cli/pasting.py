"""Reads a join string from standard input, however it comes: pasted, wrapped, piped, or not at all."""

from __future__ import annotations

import os
import select
import termios
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from secure_ray.base.errors import UsageError
from secure_ray.pki.join_string import PREFIX, is_whole

if TYPE_CHECKING:
    from collections.abc import Callable

_MOST_BYTES = 4096
# Between two lines of one paste; and for a person to press Enter behind the last one.
_PAUSE_SECONDS, _ENTER_SECONDS = 0.5, 10.0
# Whoever is at the other end of a pipe may have to type a password first.
_QUIET_SECONDS, _PIPE_SECONDS = 5.0, 120.0


def read_pasted(descriptor: int, *, say: Callable[[str], None]) -> str:
    """What was pasted or piped, up to a whole join string, the end, or what is surely none.

    Args:
        descriptor: Standard input.
        say: Tells the person.

    Raises:
        UsageError: nothing whole came through the pipe in two minutes.
    """
    if not os.isatty(descriptor):
        return _from_pipe(descriptor, say)
    say("paste the join string, then press Enter:")
    received = b""
    while _is_wanted(received) and _goes_on(descriptor, received, say):
        chunk = os.read(descriptor, _MOST_BYTES - len(received))
        if not chunk:
            break
        received += chunk
    if not is_whole(_text(received)):
        # The rest of a paste holds the secret, and must not go to the shell that reads next.
        with suppress(termios.error):
            termios.tcflush(descriptor, termios.TCIFLUSH)
    return _text(received)


def _from_pipe(descriptor: int, say: Callable[[str], None]) -> str:
    received = b""
    end = time.monotonic() + _PIPE_SECONDS
    wait = _QUIET_SECONDS
    while _is_wanted(received):
        if _readable(descriptor, wait):
            chunk = os.read(descriptor, _MOST_BYTES - len(received))
            if not chunk:
                break
            received += chunk
        elif time.monotonic() < end:
            say("waiting for a join string on standard input")
            wait = max(0.0, end - time.monotonic())
        else:
            raise UsageError(
                "SR-JOIN-053",
                f"no whole join string came on standard input in {_PIPE_SECONDS:g} s",
                fix="on the head: secure-ray join-token create; then pipe what it prints, or give "
                "a file: --join FILE",
            )
    return _text(received)


def _goes_on(descriptor: int, received: bytes, say: Callable[[str], None]) -> bool:
    """Whether more comes from the terminal, which hands over whole lines only."""
    if not received or _readable(descriptor, _PAUSE_SECONDS):
        return True
    if not received.lstrip().startswith(PREFIX.encode()):
        return False
    say("that is not all of it; press Enter once more if the rest is there")
    return _readable(descriptor, _ENTER_SECONDS)


def _is_wanted(received: bytes) -> bool:
    return len(received) < _MOST_BYTES and not is_whole(_text(received))


def _readable(descriptor: int, seconds: float | None) -> bool:
    return bool(select.select([descriptor], [], [], seconds)[0])


def _text(received: bytes) -> str:
    return received.decode(errors="replace")
