"""Where the files of the PKI lie, and how a leaf is swapped.

    passphrase               0600, outside of the directory: a copy of that alone opens no root key
    directory/               0700, every file 0600
        lock                 held by the process that is changing something here
        root.crt root.key    the key in PKCS #8, encrypted with the passphrase
        issuing.crt issuing.key
        node/
            g0001/           node.crt (leaf, then issuing CA), node.key, ca.crt (the root)
            g0002/
            current -> g0002

A key and its certificate always change together: a new generation is written whole, then `current`
is swapped in one rename. Ray is given the paths through `current`, not a generation's own: every
Ray process reads the files once, when it starts, and new workers start at any time with the paths
that the raylet got. So a renewed leaf reaches them without a restart, and no old generation has to
stay for their sake. A process that opens one file before the swap and the other after it gets two
halves that do not fit; it fails to start, loudly, and Ray starts another. The previous generation
stays all the same, for whoever is half-way through reading it.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from secure_ray.base.errors import FailedError
from secure_ray.base.files import make_private_directory, remove_tree, replace_link, write_private
from secure_ray.base.ownership import require_private_directory

if TYPE_CHECKING:
    from pathlib import Path

_GENERATION = re.compile(r"g(\d{4,})")
# What `write_private` and `replace_link` leave behind when they are killed before the rename.
_LEFTOVER = r"\.{name}\.[0-9a-f]{{12}}"


@dataclass(frozen=True)
class LeafFiles:
    """What a TLS end needs: its certificate chain, its key, and whom it trusts."""

    certificate: Path
    key: Path
    authority: Path

    @classmethod
    def within(cls, directory: Path) -> LeafFiles:
        """The files of a leaf by the names that they have everywhere."""
        return cls(directory / "node.crt", directory / "node.key", directory / "ca.crt")

    def state(self) -> tuple[int, int]:
        """Another value once a new generation is in use.

        Raises:
            OSError: there is none.
        """
        found = self.certificate.stat()  # through the link to the generation in use
        return found.st_ino, found.st_mtime_ns

    def write(self, *, certificate: bytes, key: bytes, authority: bytes) -> None:
        """Write all three.

        Raises:
            FailedError: one could not be written.
        """
        write_private(self.key, key)
        write_private(self.certificate, certificate)
        write_private(self.authority, authority)


@dataclass(frozen=True)
class PkiPaths:
    """The files of one node's PKI.

    Attributes:
        directory: All but the passphrase.
        passphrase: What opens the root key.

    Raises:
        ValueError: the passphrase lies within the directory, where it protects nothing.
    """

    directory: Path
    passphrase: Path

    def __post_init__(self) -> None:
        if self.passphrase.is_relative_to(self.directory):
            raise ValueError("the passphrase must lie outside of the directory of the keys")

    @property
    def lock(self) -> Path:
        """Held by the process that is changing something here."""
        return self.directory / "lock"

    @property
    def root_certificate(self) -> Path:
        """The root CA's certificate."""
        return self.directory / "root.crt"

    @property
    def root_key(self) -> Path:
        """The root CA's key, encrypted."""
        return self.directory / "root.key"

    @property
    def issuing_certificate(self) -> Path:
        """The issuing CA's certificate."""
        return self.directory / "issuing.crt"

    @property
    def issuing_key(self) -> Path:
        """The issuing CA's key."""
        return self.directory / "issuing.key"

    @property
    def node(self) -> Path:
        """The generations of this node's leaf."""
        return self.directory / "node"

    @property
    def current(self) -> Path:
        """The link to the generation in use."""
        return self.node / "current"

    @property
    def leaf(self) -> LeafFiles:
        """The leaf in use, by the paths that Ray is given."""
        return LeafFiles.within(self.current)


def prepare(paths: PkiPaths) -> None:
    """Make the directories that are missing and check those that are there.

    Raises:
        FailedError: one of them is not ours alone, or cannot be made.
    """
    make_private_directory(paths.passphrase.parent)
    make_private_directory(paths.directory)
    make_private_directory(paths.node)


def current_generation(paths: PkiPaths) -> Path | None:
    """The directory that `current` points at; None when there is no link or nothing behind it.

    Raises:
        FailedError: `current` is not a link to a generation beside it, or that is not ours alone.
    """
    number = _current_number(paths)
    generation = paths.node / f"g{number:04d}"
    if not number or not os.path.lexists(generation):
        return None
    require_private_directory(generation)
    return generation


def add_generation(paths: PkiPaths, *, certificate: bytes, key: bytes, authority: bytes) -> None:
    """Write a new generation and make it the current one; the one before stays, older ones go.

    Raises:
        FailedError: it could not be written; the current generation is as it was.
    """
    number = max([_current_number(paths), *_generations(paths)]) + 1
    generation = paths.node / f"g{number:04d}"
    make_private_directory(generation)
    LeafFiles.within(generation).write(certificate=certificate, key=key, authority=authority)
    replace_link(paths.current, generation.name)


def sweep(paths: PkiPaths) -> None:
    """Remove what killed runs left: temporary files, generations never used, and old ones.

    Raises:
        FailedError: something could not be removed.
    """
    _sweep_leftovers(paths.passphrase.parent, re.escape(paths.passphrase.name))
    _sweep_leftovers(paths.directory, r"(root|issuing)\.(crt|key)")
    _sweep_leftovers(paths.node, "current")
    current = _current_number(paths)
    older = [number for number in _generations(paths) if number < current]
    for number in set(_generations(paths)) - {current, *older[-1:]}:
        remove_tree(paths.node / f"g{number:04d}")


def _current_number(paths: PkiPaths) -> int:
    if not os.path.lexists(paths.current):
        return 0
    target = str(paths.current.readlink()) if paths.current.is_symlink() else ""
    match = _GENERATION.fullmatch(target)
    if match is None:
        raise FailedError(
            "SR-PKI-008",
            f"{paths.current} is not a link to a generation beside it (such as g0001)",
            fix=f"find out who changed it, then remove it: the next start makes {paths.current}",
        )
    return int(match[1])


def _generations(paths: PkiPaths) -> list[int]:
    matches = (_GENERATION.fullmatch(entry.name) for entry in paths.node.iterdir())
    return sorted(int(match[1]) for match in matches if match)


def _sweep_leftovers(directory: Path, name: str) -> None:
    leftover = re.compile(_LEFTOVER.format(name=name))
    for entry in list(directory.iterdir()):
        if leftover.fullmatch(entry.name):
            entry.unlink(missing_ok=True)
