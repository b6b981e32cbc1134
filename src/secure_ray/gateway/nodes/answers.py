"""What the door answers: a message, or why not. Whatever it refuses is raised as a `RefusalError`."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from math import ceil
from typing import TYPE_CHECKING, Any

from aiohttp import web
from aiohttp.http import HttpProcessingError

from secure_ray.node.messages import Problem, decode, encode
from secure_ray.policy.addresses import canonical
from secure_ray.policy.admission import Rejection, in_words

if TYPE_CHECKING:
    from msgspec import Struct

_BODY_SECONDS = 10.0
SAME_VERSION = "on this node use the head's version of secure-ray"
LOOK_AT_HEAD = "try again; the reason is in supervisor.log on the head"


class RefusalError(Exception):
    """The door does not do what was asked; `rejection` says why, with HTTP status `status`."""

    def __init__(self, rejection: Rejection, status: int) -> None:
        super().__init__(rejection.code)
        self.rejection = rejection
        self.status = status


def too_early(code: str, cause: str, wait: float) -> RefusalError:
    """The refusal of one who may come again after `wait` seconds."""
    seconds = ceil(wait)
    again = in_words(timedelta(seconds=seconds))
    why = Rejection(code, f"{cause}; again in {again}", f"wait {again}, then join again", seconds)
    return RefusalError(why, 429)


async def body_of(request: web.Request, kind: Any) -> Any:
    """The message of type `kind` that the request carries.

    Raises:
        RefusalError: it carries none, or does not come to its end.
    """
    try:
        content = await asyncio.wait_for(request.read(), _BODY_SECONDS)
        return decode(content, kind)
    except asyncio.TimeoutError:
        why = Rejection("SR-JOIN-021", "the request did not come to its end", SAME_VERSION)
        raise RefusalError(why, 408) from None
    except (ConnectionError, HttpProcessingError, web.RequestPayloadError):
        why = Rejection("SR-JOIN-021", "the request broke off, or is no HTTP", SAME_VERSION)
        raise RefusalError(why, 400) from None
    except ValueError as error:
        why = Rejection("SR-JOIN-021", f"the request is {error}", SAME_VERSION)
        raise RefusalError(why, 400) from None


def reply(message: Struct, status: int = 200) -> web.Response:
    """The message as a response that nobody keeps."""
    return web.Response(
        body=encode(message),
        status=status,
        content_type="application/json",
        headers={"Cache-Control": "no-store", "Server": "secure-ray"},
    )


def problem(why: Rejection, status: int) -> web.Response:
    """The response that says why not."""
    response = reply(Problem(why.code, why.cause, why.fix, why.retry_after), status)
    if why.retry_after:
        response.headers["Retry-After"] = str(why.retry_after)
    if status in {400, 408, 413}:
        response.force_close()
    return response


def address_of(request: web.Request) -> str:
    """Where the request comes from, in canonical spelling.

    Raises:
        RefusalError: the connection is gone, and with it its other end.
    """
    address = canonical(request.remote or "")
    if not address:
        why = Rejection("SR-JOIN-021", "the request has no sender any more", SAME_VERSION)
        raise RefusalError(why, 400)
    return address
