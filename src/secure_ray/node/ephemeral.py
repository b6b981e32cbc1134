"""The files of a cluster that lives as long as the program that started it."""

from __future__ import annotations

import os
import secrets
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from secure_ray.base.errors import FailedError
from secure_ray.base.files import is_there, make_private_directory, remove_tree
from secure_ray.base.locks import lock
from secure_ray.node.bring_down import bring_down, reset
from secure_ray.node.cluster import changing, ensure_directories
from secure_ray.node.instance import supervisor_lives
from secure_ray.node.paths import ClusterPaths, state_home

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

_NAME = "local"
# Nothing takes that long to make; what is older was left by a program that was killed meanwhile.
_MAKING_SECONDS = 3600
# Longer than stopping a Ray takes.
_LOCK_WAIT = 60.0


@dataclass
class Ephemeral:
    """A cluster of one program; `end` stops it and removes its files."""

    paths: ClusterPaths
    _ended: bool = field(default=False)
    _maker: int = field(default_factory=os.getpid)

    @classmethod
    def make(cls, environ: Mapping[str, str]) -> Ephemeral:
        """Paths for a new one. What a killed program left behind is removed on the way.

        Raises:
            FailedError: the state directory is not ours alone, or cannot be written.
        """
        home = state_home(environ)
        make_private_directory(home)
        parent = home / "ephemeral"
        make_private_directory(parent)
        _remove_dead(parent)
        return cls(ClusterPaths(parent / secrets.token_hex(4), _NAME))

    @contextmanager
    def starting(self) -> Iterator[None]:
        """Make its directories and keep other programs, which look for dead ones, from it.

        Raises:
            FailedError: a directory cannot be made.
            IncompleteError: another program holds it all the time.
        """
        ensure_directories(self.paths)
        with changing(self.paths):
            yield

    @property
    def ends_here(self) -> bool:
        """Whether this process has to end it: the one that made it, not a forked child."""
        return not self._ended and os.getpid() == self._maker

    def end(self) -> None:
        """Stop it and remove its files; a second call, or one by a forked child, does nothing."""
        if not self.ends_here:
            return
        self._ended = True
        _end(self.paths, wait=_LOCK_WAIT)


def _end(
    paths: ClusterPaths, *, wait: float, when: Callable[[ClusterPaths], bool] = lambda _paths: True
) -> None:
    """Stop it and remove its files, alone: programs come and go at once (pytest-xdist).

    Args:
        paths: Its files.
        wait: Seconds to wait for another program that is at it.
        when: Whether to do so; asked when nobody else can change it.
    """
    with ExitStack() as held:
        if _hold(paths, held, wait=wait) and when(paths):
            bring_down(paths, lambda _phase: None)
            reset(paths)
            remove_tree(paths.home)


def _hold(paths: ClusterPaths, held: ExitStack, *, wait: float) -> bool:
    """Take its lock, where it has one already; False when another program starts or removes it."""
    if not is_there(paths.directory):
        return True
    try:
        held.enter_context(lock(paths.lock, wait=wait))
    except BlockingIOError:
        return False
    except FailedError:
        if is_there(paths.directory):
            raise
        return False  # removed meanwhile
    return True


def _remove_dead(parent: Path) -> None:
    for home in parent.iterdir():
        _end(ClusterPaths(home, _NAME), wait=0, when=_is_dead)


def _is_dead(paths: ClusterPaths) -> bool:
    # One that is being made has no supervisor yet: the lock file appears last, with it.
    if is_there(paths.supervisor_lock):
        return not supervisor_lives(paths)
    return _age(paths.home) > _MAKING_SECONDS


def _age(path: Path) -> float:
    """Seconds since something in the directory was made or removed; 0 when it has just gone."""
    try:
        return time.time() - path.lstat().st_mtime
    except FileNotFoundError:
        return 0
