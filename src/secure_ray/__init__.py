"""Ray, locked by default.

    from secure_ray import secure_init

    secure_init()  # where ray.init() stood

Importing this package imports neither Ray nor anything heavy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from secure_ray.base.errors import (
    FailedError,
    IncompleteError,
    InconclusiveError,
    Refusal,
    RefusedError,
    RejectedError,
    SecureRayError,
    UsageError,
)

if TYPE_CHECKING:
    from secure_ray.node.session import secure_init
    from secure_ray.settings.model import Settings

__all__ = [
    "FailedError",
    "IncompleteError",
    "InconclusiveError",
    "Refusal",
    "RefusedError",
    "RejectedError",
    "SecureRayError",
    "Settings",
    "UsageError",
    "secure_init",
]


def __getattr__(name: str) -> Any:
    if name == "secure_init":
        from secure_ray.node.session import secure_init

        return secure_init
    if name == "Settings":
        from secure_ray.settings.model import Settings

        return Settings
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)


def __dir__() -> list[str]:
    return sorted(__all__)
