"""The root key off the machine: a copy is made and tried, then the one here is removed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from secure_ray.base.errors import FailedError, UsageError
from secure_ray.base.file_errors import os_failure
from secure_ray.base.files import (
    make_private_directory,
    read_private,
    sync_directory,
    write_private,
)
from secure_ray.pki.authority import Stage, require_stage
from secure_ray.pki.inspection import require_authorities
from secure_ray.pki.keys import UnusableKeyError, key_digest, key_from_pem
from secure_ray.pki.root_key import open_root, read_passphrase
from secure_ray.pki.rotation import sweep_authorities
from secure_ray.pki.store import alone, prepare
from secure_ray.pki.trust import root_pin

if TYPE_CHECKING:
    from pathlib import Path

    from secure_ray.base.secrets import Secret
    from secure_ray.pki.store import PkiPaths

_PIN_DIGITS = 16


@dataclass(frozen=True)
class Exported:
    """Where the copies are; they are best kept apart from each other.

    Attributes:
        key: The root key, encrypted.
        passphrase: What opens it.
    """

    key: Path
    passphrase: Path


def export_root(paths: PkiPaths, to: Path, *, cluster: str) -> Exported:
    """Copy the root key and its passphrase to a directory, and remove the key from here.

    The names say of which root they are, so that a later root's do not take their place. The
    passphrase stays here as well: alone it opens nothing. Killed before its end it changes nothing
    but the copies; run again it does the rest.

    Raises:
        UsageError: `to` lies within the directory of the keys.
        RootKeyError: the root key is not here (any more), or cannot be opened.
        FailedError: the root is being rotated, the copy does not open, or nothing can be written.
    """
    if to.resolve().is_relative_to(paths.directory.resolve()):
        raise UsageError(
            "SR-PKI-019",
            f"{to} lies within {paths.directory}, where the root key is now",
            fix="name a directory on a medium that you take away, such as /media/usb/root",
        )
    prepare(paths)
    with alone(paths):
        found = require_authorities(paths, cluster)
        require_stage(found, Stage.STEADY, to="to take the root key off the machine")
        sweep_authorities(paths, found)  # an issuing CA's renewal may have left a copy
        files, root = found.current.files, found.current.root
        open_root(root, files, paths.passphrase, cluster=cluster)
        copy = _copies(to, root_pin(root).hex())
        make_private_directory(to)
        write_private(copy.key, read_private(files.root_key))
        passphrase = read_passphrase(paths.passphrase, cluster=cluster)
        write_private(copy.passphrase, passphrase.reveal().encode())
        if not _opens(copy, passphrase, root_pin(root)):
            raise FailedError(
                "SR-PKI-019",
                f"the copy {copy.key} does not open; the root key is still here",
                fix="name a directory on another medium",
            )
        _remove(files.root_key)
    return copy


def _copies(to: Path, pin: str) -> Exported:
    name = f"root-{pin[:_PIN_DIGITS]}"
    return Exported(to / f"{name}.key", to / f"{name}.passphrase")


def _opens(copy: Exported, passphrase: Secret, pin: bytes) -> bool:

    if read_private(copy.passphrase).decode(errors="replace") != passphrase.reveal():
        return False
    try:
        key = key_from_pem(read_private(copy.key), passphrase)
    except UnusableKeyError:
        return False
    return key_digest(key.public_key()) == pin


def _remove(path: Path) -> None:
    try:
        path.unlink()
        sync_directory(path.parent)
    except OSError as error:
        raise os_failure("remove", path, error) from None
