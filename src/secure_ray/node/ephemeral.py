"""The files of a cluster that lives as long as the program that started it."""

from __future__ import annotations

import os
import secrets
import time
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from secure_ray.base.files import is_there, make_private_directory, remove_tree
from secure_ray.base.locks import lock
from secure_ray.node.bring_down import bring_down, reset
from secure_ray.node.cluster import changing, ensure_directories
from secure_ray.node.instance import supervisor_lives
from secure_ray.node.paths import ClusterPaths, state_home

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
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
        with ExitStack() as held, suppress(BlockingIOError):
            _take_lock(self.paths, held, wait=_LOCK_WAIT)
            _remove(self.paths)


def _remove(paths: ClusterPaths) -> None:
    bring_down(paths, lambda _phase: None)
    reset(paths)
    remove_tree(paths.home)


def _remove_dead(parent: Path) -> None:
    """Programs come and go at once (pytest-xdist): what another has locked is its own affair."""
    for home in parent.iterdir():
        paths = ClusterPaths(home, _NAME)
        with ExitStack() as held, suppress(BlockingIOError):
            # One that is being made has no supervisor yet, one that is being removed no lock.
            begun = _take_lock(paths, held, wait=0) and is_there(paths.supervisor_lock)
            if not supervisor_lives(paths) if begun else _age(home) > _MAKING_SECONDS:
                _remove(paths)


def _take_lock(paths: ClusterPaths, held: ExitStack, *, wait: float) -> bool:
    """Lock it, for as long as `held`; False when there is no lock.

    Raises:
        BlockingIOError: another program starts it or removes it.
    """
    try:
        held.enter_context(lock(paths.lock, wait=wait, make=False))
    except FileNotFoundError:
        return False
    return True


def _age(path: Path) -> float:
    """Seconds since something in the directory was made or removed; 0 when it has just gone."""
    try:
        return time.time() - path.lstat().st_mtime
    except FileNotFoundError:
        return 0
