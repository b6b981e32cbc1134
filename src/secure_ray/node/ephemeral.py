"""The files of a cluster that lives as long as the program that started it."""

from __future__ import annotations

import os
import secrets
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from secure_ray.base.files import is_there, make_private_directory, remove_tree
from secure_ray.node.bring_down import bring_down, reset
from secure_ray.node.instance import supervisor_lives
from secure_ray.node.paths import ClusterPaths, state_home

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_NAME = "local"
# Nothing takes that long to make; what is older was left by a program that was killed meanwhile.
_MAKING_SECONDS = 3600


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

    def end(self) -> None:
        """Stop it and remove its files; a second call, or one by a forked child, does nothing."""
        if self._ended or os.getpid() != self._maker:
            return
        self._ended = True
        _end(self.paths)


def _end(paths: ClusterPaths) -> None:
    bring_down(paths, lambda _phase: None)
    reset(paths)
    remove_tree(paths.home)


def _remove_dead(parent: Path) -> None:
    for home in parent.iterdir():
        paths = ClusterPaths(home, _NAME)
        # One that is being made has no supervisor yet: the lock file appears last, with it.
        begun = is_there(paths.supervisor_lock)
        if (begun and not supervisor_lives(paths)) or (not begun and _age(home) > _MAKING_SECONDS):
            _end(paths)


def _age(path: Path) -> float:
    """Seconds since something in the directory was made or removed; 0 when it has just gone."""
    try:
        return time.time() - path.lstat().st_mtime
    except FileNotFoundError:
        return 0
