"""The root CA's key: sealed with a passphrase that lies elsewhere, opened only to sign a CA."""

from __future__ import annotations

from typing import TYPE_CHECKING

from secure_ray.base.commands import command, new_keys
from secure_ray.base.errors import FailedError
from secure_ray.base.files import is_there, read_private, write_private
from secure_ray.base.secrets import Secret
from secure_ray.pki.inspection import is_our_root
from secure_ray.pki.keys import (
    PASSPHRASE_BITS,
    UnusableKeyError,
    key_from_pem,
)
from secure_ray.pki.profiles import Signer

if TYPE_CHECKING:
    from pathlib import Path

    from cryptography.x509 import Certificate

    from secure_ray.pki.store import AuthorityFiles


class RootKeyError(FailedError):
    """The root key is needed, and is not here or cannot be opened."""


def open_root(
    root: Certificate, files: AuthorityFiles, passphrase: Path, *, cluster: str
) -> Signer:
    """The root CA with its key, ready to sign.

    Raises:
        RootKeyError: the key is not here, cannot be opened, or is another root's.
        FailedError: a file is not ours alone.
    """
    sealed = files.root_key
    if not is_there(sealed):
        raise _not_here(root, sealed, cluster)
    try:
        key = key_from_pem(read_private(sealed), read_passphrase(passphrase, cluster=cluster))
    except UnusableKeyError:
        raise _unusable(f"the passphrase in {passphrase} does not open {sealed}", cluster) from None
    if key.public_key() != root.public_key():
        raise _unusable(f"{sealed} is not the key of {files.root_certificate}", cluster)
    return Signer(root, key)


def ensure_passphrase(passphrase: Path, *, cluster: str) -> Secret:
    """The passphrase, made if there is none. One that is there may open a key that is elsewhere.

    Raises:
        RootKeyError: the file is empty.
        FailedError: it is not ours alone, or cannot be written.
    """
    if not is_there(passphrase):
        write_private(passphrase, Secret.random_hex(PASSPHRASE_BITS).reveal().encode())
    return read_passphrase(passphrase, cluster=cluster)


def read_passphrase(passphrase: Path, *, cluster: str) -> Secret:
    """What opens the root key.

    Raises:
        RootKeyError: the file is missing or empty.
        FailedError: it is not ours alone.
    """
    if not is_there(passphrase):
        raise _unusable(f"{passphrase}, which opens the root key, is missing", cluster)
    words = read_private(passphrase).decode(errors="replace").strip()
    if not words:
        raise _unusable(f"{passphrase}, which opens the root key, is empty", cluster)
    return Secret(words)


def _not_here(root: Certificate, sealed: Path, cluster: str) -> RootKeyError:
    fix = f"put it back for this run (to {sealed}, mode 0600), then take it off the machine again"
    if not is_our_root(root):
        fix = (
            f"it is somebody else's root CA: {command('certs csr', cluster)}, have that signed by"
            f" it, then {command('certs import', cluster)}"
        )
    return RootKeyError(
        "SR-PKI-006", f"the root key {sealed} is not here, and a new issuing CA needs it", fix=fix
    )


def _unusable(cause: str, cluster: str) -> RootKeyError:
    fix = f"put both back from one copy, or for new keys: {new_keys(cluster)}"
    return RootKeyError("SR-PKI-007", cause, fix=fix)
