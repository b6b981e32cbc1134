"""A server's TLS context that is as fresh as the files it was made of, at each handshake.

`SSLContext.load_verify_locations` only ever adds to what is trusted, so a CA that was retired would
stay trusted in a context that is merely reloaded. Here a context is made anew whenever the files
have changed, and the handshake is moved to it: OpenSSL then takes certificate, key and trust from
there (SSL_set_SSL_CTX; measured with Python 3.11, also for clients that send no server name).
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

from secure_ray.base.errors import SecureRayError

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable


class FreshContext:
    """Follows the files of a server's identity.

    Args:
        make: Makes the context from the files as they are; must ask clients for a certificate.
        state: Another value whenever the files have changed; cheap.
        failed: Told why a new one could not be made; the last good one stays in use.

    Attributes:
        context: For the server; the same one all the time.

    Raises:
        ValueError: `make` makes a context that lets clients without a certificate in unasked.
        OSError: the files cannot be used now; or what else `make` raises.
    """

    def __init__(
        self,
        make: Callable[[], ssl.SSLContext],
        state: Callable[[], Hashable],
        *,
        failed: Callable[[Exception], None] = lambda _error: None,
    ) -> None:
        self._make = make
        self._state = state
        self._failed = failed
        self._seen = state()
        self._current = make()
        if self._current.verify_mode is ssl.CERT_NONE:
            raise ValueError("a context that asks for no certificate lets everybody in")
        # How a client is verified is settled before the callback; whom to trust is not.
        self.context = make()
        self.context.sni_callback = self._choose

    def refresh(self) -> bool:
        """Follow the files now; whether they had changed and could be used."""
        try:
            state = self._state()
            if state == self._seen:
                return False
            self._current, self._seen = self._make(), state
        except (
            SecureRayError,
            OSError,
            ValueError,
        ) as error:  # half of a pair: the next handshake tries again
            self._failed(error)
            return False
        return True

    def _choose(
        self, connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext
    ) -> None:
        self.refresh()
        connection.context = self._current
