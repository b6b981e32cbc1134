"""A secret that does not print.

A token, password or private key travels through the program as a `Secret`; only the line that
hands it to its consumer calls `reveal`.
"""

from __future__ import annotations

import hmac
import secrets
from typing import NoReturn

MASK = "********"


class Secret:
    """A value that shows as stars in `repr`, `str`, f-strings, logs and tracebacks."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    @classmethod
    def random_hex(cls, bits: int) -> Secret:
        """A fresh secret of `bits` bits from the operating system, as hexadecimal digits."""
        return cls(secrets.token_hex(bits // 8))

    def reveal(self) -> str:
        """The value itself. Call it only where the value is handed to its consumer."""
        return self._value

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._value.encode(), other._value.encode())

    __hash__ = None  # type: ignore[assignment]  # a secret is no key of a dictionary

    def __repr__(self) -> str:
        return f"Secret({MASK})"

    def __str__(self) -> str:
        return MASK

    def __format__(self, _spec: str) -> str:
        return MASK

    def __reduce__(self) -> NoReturn:
        msg = "a Secret is not pickled or copied"
        raise TypeError(msg)


def redact(text: str, secrets_: tuple[Secret, ...]) -> str:
    """`text` with every occurrence of a secret's value replaced by stars."""
    # The longest first: one that begins like another would leave the other's end in clear.
    for value in sorted((secret.reveal() for secret in secrets_), key=len, reverse=True):
        if value:
            text = text.replace(value, MASK)
    return text
