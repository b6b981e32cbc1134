"""What is done to Ray inside the user's own process: the only place that imports it there."""

from __future__ import annotations

import os
import sys
import threading
from typing import TYPE_CHECKING, Any

from secure_ray.base.errors import FailedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping


LOOPBACK_VARIABLE = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"


def is_initialized() -> bool:
    """Whether this process is connected to a Ray, however it came to be."""
    ray = sys.modules.get("ray")
    return bool(ray is not None and ray.is_initialized())


def init(**arguments: Any) -> Any:
    """`ray.init`."""
    import ray

    return ray.init(**arguments)


def shutdown_at_exit() -> None:
    """`ray.shutdown` as Ray itself calls it when the program ends; nothing if it is not connected.

    Ray registers that when it is imported, and what was registered last is done first: a cluster
    that ends with the program would be gone before its driver has said goodbye.
    """
    if is_initialized():
        sys.modules["ray"].shutdown(_exiting_interpreter=True)


def begin_import() -> Callable[[], None]:
    """Import Ray, which takes half a second of CPU, beside what the caller does next.

    Returns:
        Waits until it is imported; raises what the import raised.
    """
    failure: list[BaseException] = []

    def load() -> None:
        try:
            import ray  # noqa: F401
        except BaseException as error:  # noqa: BLE001  # raised again where it is waited for
            failure.append(error)

    thread = threading.Thread(target=load, name="import-ray", daemon=True)
    thread.start()

    def wait() -> None:
        thread.join()
        if failure:
            raise failure[0]

    return wait


def require_hardenable() -> None:
    """Check that a Ray that was imported before can still be hardened.

    Raises:
        FailedError: it cannot; says why.
    """
    if "ray" in sys.modules:
        _configuration()


def harden(environment: Mapping[str, str], dropped: Iterable[str] = ()) -> Callable[[], None]:
    """Make this process's Ray authenticate, encrypt and bind loopback.

    Ray reads its configuration from the environment when it is imported. When that has happened
    already, the two places that keep what was read are read again, and asked whether they did.

    Args:
        environment: What to set.
        dropped: Variables to take away, such as a RAY_AUTH_TOKEN that would win over the file.

    Returns:
        Puts the environment back as it was.

    Raises:
        FailedError: Ray was imported before and does not take the configuration any more.
    """
    before = {name: os.environ.get(name) for name in (*environment, *dropped)}

    def restore() -> None:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value

    for name in dropped:
        os.environ.pop(name, None)
    os.environ.update(environment)
    if "ray" in sys.modules:
        try:
            _read_again(on_loopback=environment.get(LOOPBACK_VARIABLE) == "0")
        except BaseException:
            restore()
            raise
    return restore


def _read_again(*, on_loopback: bool) -> None:
    config, mode_now, token_mode, token_loader, constants = _configuration()
    # Both as Ray does it itself: _private/authentication/authentication_token_setup.py (2.60.0).
    config.initialize("")
    token_loader.instance().reset_cache()
    # Read once, by _private/ray_constants.py; with it false a driver binds loopback.
    constants.ENABLE_RAY_CLUSTER = not on_loopback
    if mode_now() != token_mode:
        raise FailedError(
            "SR-RAY-021",
            "ray was imported before secure_init and keeps the configuration that it read then "
            "(token authentication stays off)",
            fix="call secure_init before the first import of ray, or use secure-ray run",
        )


def _configuration() -> tuple[Any, Callable[[], Any], Any, Any, Any]:
    try:
        from ray._private import ray_constants
        from ray._raylet import (
            AuthenticationMode,
            AuthenticationTokenLoader,
            Config,
            get_authentication_mode,
        )

        # Looked up now, so that a Ray without them is noticed before anything has changed.
        _ = (ray_constants.ENABLE_RAY_CLUSTER, Config.initialize, AuthenticationMode.TOKEN)
    except (ImportError, AttributeError) as error:
        raise FailedError(
            "SR-RAY-022",
            "ray was imported before secure_init, and this Ray cannot be configured afterwards "
            f"({error})",
            fix="call secure_init before the first import of ray, or use secure-ray run",
        ) from None
    return (
        Config,
        get_authentication_mode,
        AuthenticationMode.TOKEN,
        AuthenticationTokenLoader,
        ray_constants,
    )


def after_shutdown(act: Callable[[], None]) -> None:
    """Have the next `ray.shutdown()` call `act` as well, once; then `ray.shutdown` is as before."""
    import ray

    original = ray.shutdown

    def shutdown(*arguments: Any, **options: Any) -> None:
        ray.shutdown = original
        try:
            original(*arguments, **options)
        finally:
            act()

    def finish() -> None:
        ray.shutdown = original
        act()

    shutdown.__doc__ = original.__doc__
    shutdown.finish = finish  # type: ignore[attr-defined]  # what `finish_shutdown` looks for
    ray.shutdown = shutdown


def finish_shutdown() -> None:
    """Do what should have followed a shutdown that went past ours (`from ray import shutdown`)."""
    ray = sys.modules.get("ray")
    while ray is not None and hasattr(ray.shutdown, "finish"):
        ray.shutdown.finish()
