"""Where the files of the PKI lie.

    passphrase               0600, outside of the directory: a copy of that alone opens no root key
    directory/               0700, every file 0600
        lock                 held by the process that is changing something here
        authority/           on the head only
            a0001/           root.crt root.key issuing.crt issuing.key
            a0002/           the same of a new root while the old is being replaced, and bridge.crt
            current -> a0001
            request/         issuing.key that waits for a certificate from somebody else's CA
        node/
            g0001/           node.crt (leaf, then issuing CA), node.key, ca.crt (whom it trusts)
            g0002/
            current -> g0002
        join.key renewal.key on a worker: of a request that is on its way

A key and its certificate always change together: a new generation is written whole, then `current`
is swapped in one rename. Ray is given the paths through `current`, not a generation's own: every
Ray process reads the files once, when it starts, and new workers start at any time with the paths
that the raylet got. So a renewed leaf reaches them without a restart, and no old generation has to
stay for their sake. A process that opens one file before the swap and the other after it gets two
halves that do not fit; it fails to start, loudly, and Ray starts another. The previous generation
of the leaf stays all the same, for whoever is half-way through reading it.
"""

from __future__ import annotations

import re
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from secure_ray.base.errors import FailedError
from secure_ray.base.files import make_private_directory, write_private
from secure_ray.base.locks import lock
from secure_ray.pki.generations import Generations, sweep_leftovers

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_LOCK_WAIT = 30  # seconds; making all keys takes well below one


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
class AuthorityFiles:
    """The files of one authority: a root CA and the issuing CA under it.

    Attributes:
        root_certificate: The root CA's certificate.
        root_key: The root CA's key, encrypted; may be kept elsewhere.
        issuing_certificate: The issuing CA's certificate.
        issuing_key: The issuing CA's key.
        bridge: The issuing CA's certificate under the root before; only while a root is replaced.
        withdrawn: The same, after that was given up.
    """

    root_certificate: Path
    root_key: Path
    issuing_certificate: Path
    issuing_key: Path
    bridge: Path
    withdrawn: Path

    @classmethod
    def within(cls, directory: Path) -> AuthorityFiles:
        """The files of an authority by the names that they have everywhere."""
        return cls(
            root_certificate=directory / "root.crt",
            root_key=directory / "root.key",
            issuing_certificate=directory / "issuing.crt",
            issuing_key=directory / "issuing.key",
            bridge=directory / "bridge.crt",
            withdrawn=directory / "bridge.withdrawn",
        )


@dataclass(frozen=True)
class PkiPaths:
    """The files of one node's PKI.

    Attributes:
        directory: All but the passphrase.
        passphrase: What opens the root keys.

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
    def authorities(self) -> Generations:
        """The generations of the authority."""
        return Generations(self.directory / "authority", "a")

    @property
    def authority(self) -> AuthorityFiles:
        """The authority in use, by the paths through the link."""
        return AuthorityFiles.within(self.authorities.link)

    @property
    def request(self) -> Path:
        """The directory of a key that waits for a certificate from somebody else's CA."""
        return self.authorities.directory / "request"

    @property
    def leaves(self) -> Generations:
        """The generations of this node's leaf."""
        return Generations(self.directory / "node", "g")

    @property
    def node(self) -> Path:
        """The directory of the generations of this node's leaf."""
        return self.leaves.directory

    @property
    def current(self) -> Path:
        """The link to the leaf in use."""
        return self.leaves.link

    @property
    def leaf(self) -> LeafFiles:
        """The leaf in use, by the paths that Ray is given."""
        return LeafFiles.within(self.current)


def prepare(paths: PkiPaths) -> None:
    """Make the directories of a head that are missing and check those that are there.

    Raises:
        FailedError: one of them is not ours alone, or cannot be made.
    """
    make_private_directory(paths.passphrase.parent)
    make_private_directory(paths.directory)
    make_private_directory(paths.authorities.directory)
    make_private_directory(paths.node)


@contextmanager
def alone(paths: PkiPaths) -> Iterator[None]:
    """Hold the lock of the PKI: two first runs at once would each make a root.

    Raises:
        FailedError: another process holds it for too long.
    """
    with ExitStack() as held:
        try:
            held.enter_context(lock(paths.lock, wait=_LOCK_WAIT))
        except BlockingIOError:
            raise FailedError(
                "SR-PKI-013",
                f"another process has been changing the keys in {paths.directory} for"
                f" {_LOCK_WAIT} seconds",
                fix="wait for it, or find it (fuser -v) and end it, then run this again",
            ) from None
        yield


def current_generation(paths: PkiPaths) -> Path | None:
    """The directory of the leaf in use; None when there is no link or nothing behind it.

    Raises:
        FailedError: `current` is not a link to a generation beside it, or that is not ours alone.
    """
    return paths.leaves.current()


def add_generation(paths: PkiPaths, *, certificate: bytes, key: bytes, authority: bytes) -> None:
    """Write a new leaf and make it the current one.

    Raises:
        FailedError: it could not be written; the leaf in use is as it was.
    """
    content = {"node.key": key, "node.crt": certificate, "ca.crt": authority}
    paths.leaves.use(paths.leaves.add(content))


def sweep_leaves(paths: PkiPaths) -> None:
    """Remove what killed runs left, leaves never used, and all but the one before the current.

    Raises:
        FailedError: something could not be removed.
    """
    current = paths.leaves.current_number()
    older = [number for number in paths.leaves.numbers() if number < current]
    paths.leaves.sweep({current, *older[-1:]})
    sweep_leftovers(paths.directory, r"(join|renewal)\.key")


def sweep_passphrase(paths: PkiPaths) -> None:
    """Remove what a killed write of the passphrase left."""
    sweep_leftovers(paths.passphrase.parent, re.escape(paths.passphrase.name))
