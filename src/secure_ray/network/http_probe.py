"""One plain HTTP request, as it stands: no redirect is followed, no proxy asked."""

from __future__ import annotations

import http.client
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from secure_ray.base.secrets import Secret

_SAMPLE_BYTES = 256


class NoAnswerError(Exception):
    """Nobody listens there, or what answered in time was not HTTP."""


@dataclass(frozen=True)
class HttpAnswer:
    """What a server answered.

    Attributes:
        status: The HTTP status.
        sample: The first bytes of the body.
    """

    status: int
    sample: bytes


def probe_http(
    host: str, port: int, path: str, *, token: Secret | None, timeout: float
) -> HttpAnswer:
    """GET `path`, with `token` as bearer token or with none; `timeout` in seconds for each step.

    Raises:
        NoAnswerError: no HTTP answer within the timeout.
    """
    headers = {} if token is None else {"Authorization": f"Bearer {token.reveal()}"}
    connection = http.client.HTTPConnection(host, port, timeout=timeout)
    try:
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        return HttpAnswer(response.status, response.read(_SAMPLE_BYTES))
    except (OSError, http.client.HTTPException) as error:
        raise NoAnswerError(_words(error)) from None
    finally:
        connection.close()


def _words(error: Exception) -> str:
    # The text of an HTTPException can hold what the server sent.
    if isinstance(error, OSError):
        return str(error.strerror or error).lower()
    return f"no HTTP ({type(error).__name__})"
