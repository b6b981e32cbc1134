"""Another root CA in place of the one here, step by step; and another issuing CA under it.

    begin_root      STEADY    -> BRIDGED     the new authority is made, tried, and bridged
    switch_root     BRIDGED   -> SWITCHED    nodes get leaves that lead to the new root alone
    retire_root     SWITCHED  -> STEADY      the old authority is removed, its keys too
    switch_back     SWITCHED  -> BRIDGED
    abandon_root    BRIDGED   -> RETURNING   nodes get leaves of the old authority again
    forget_new_root RETURNING -> STEADY      the new authority is removed

Each step takes effect in one rename or unlink, so a run killed anywhere was either before or after
it. Asked for once more after it was done, a step changes nothing. When to take the next one, after
which nodes wear what, is for the caller to know (`pki.authority` says who believes whom).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from secure_ray.base.errors import FailedError
from secure_ray.base.file_errors import os_failure
from secure_ray.base.files import sync_directory, write_private
from secure_ray.pki.authority import Authorities, Authority, Stage, bridge_of, require_stage
from secure_ray.pki.facts import facts_of
from secure_ray.pki.inspection import require_authorities
from secure_ray.pki.issuance import Issuance
from secure_ray.pki.lifetimes import DEFAULT_LIFETIMES, Lifetimes
from secure_ray.pki.profiles import bridge_certificate
from secure_ray.pki.renewal import Renewal
from secure_ray.pki.root_key import open_root
from secure_ray.pki.rotation_facts import RotationFacts, is_fresh, rotation_facts
from secure_ray.pki.store import alone, prepare
from secure_ray.pki.trust import certificates_to_pem

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from pathlib import Path

    from secure_ray.pki.profiles import Owner, Signer
    from secure_ray.pki.store import PkiPaths

ASKED_FOR = Renewal("a new one was asked for")


def begin_root(
    paths: PkiPaths, owner: Owner, *, now: datetime, lifetimes: Lifetimes = DEFAULT_LIFETIMES
) -> RotationFacts:
    """Make a new authority beside the one in use, bridged by it: STEADY to BRIDGED.

    At BRIDGED it mends a bridge that is damaged or past half of its life; at RETURNING it takes the
    authority that is there up again.

    Raises:
        RootKeyError: the old root's key, which signs the bridge, is not here or cannot be opened.
        FailedError: the rotation is further on, the new authority does not stand its test, or
            nothing can be written.
    """

    def begin(found: Authorities) -> None:
        require_stage(found, Stage.STEADY, Stage.BRIDGED, Stage.RETURNING, to="to begin")
        old, new = found.current, found.beside
        if new is not None and new.bridge is not None and is_fresh(facts_of(new.bridge), now):
            if found.stage is Stage.RETURNING:
                _rename(new.files.withdrawn, new.files.bridge)
            return
        root = open_root(old.root, old.files, paths.passphrase, cluster=owner.cluster)
        if new is None:
            Issuance(paths, owner, now, lifetimes).new_authority(bridge_from=root)
            return
        made = bridge_certificate(_require_issuing(new), root=root, now=now)
        write_private(new.files.bridge, certificates_to_pem(made))

    return _change(paths, owner, now, begin)


def switch_root(paths: PkiPaths, owner: Owner, *, now: datetime) -> RotationFacts:
    """Issue from the new authority alone, and trust the new root alone: BRIDGED to SWITCHED.

    Raises:
        FailedError: there is no rotation to go on with, or the new authority cannot be used.
    """

    def switch(found: Authorities) -> None:
        require_stage(found, Stage.BRIDGED, Stage.SWITCHED, to="to switch")
        if found.stage is Stage.BRIDGED and found.beside is not None:
            _require_bridge(found.beside)
            paths.authorities.use(found.beside.number)

    return _change(paths, owner, now, switch)


def retire_root(paths: PkiPaths, owner: Owner, *, now: datetime) -> RotationFacts:
    """Remove the old authority with its keys: SWITCHED to STEADY. There is no way back.

    Raises:
        FailedError: the rotation is not as far as that, or nothing can be removed.
    """

    def retire(found: Authorities) -> None:
        require_stage(found, Stage.SWITCHED, Stage.STEADY, to="to retire the old root")
        if found.stage is Stage.SWITCHED:
            _unlink(found.current.files.bridge)

    return _change(paths, owner, now, retire)


def switch_back(paths: PkiPaths, owner: Owner, *, now: datetime) -> RotationFacts:
    """Trust both roots again: SWITCHED to BRIDGED.

    Raises:
        FailedError: the rotation is not at that, or the bridge cannot be used any more.
    """

    def back(found: Authorities) -> None:
        require_stage(found, Stage.SWITCHED, Stage.BRIDGED, to="to switch back")
        if found.stage is Stage.SWITCHED and found.beside is not None:
            _require_bridge(found.current)
            paths.authorities.use(found.beside.number)

    return _change(paths, owner, now, back)


def abandon_root(paths: PkiPaths, owner: Owner, *, now: datetime) -> RotationFacts:
    """Issue from the old authority again, and trust it alone: BRIDGED to RETURNING.

    Raises:
        FailedError: the rotation is not at that, or nothing can be written.
    """

    def abandon(found: Authorities) -> None:
        require_stage(found, Stage.BRIDGED, Stage.RETURNING, to="to give the new root up")
        if found.stage is Stage.BRIDGED and found.beside is not None:
            _rename(found.beside.files.bridge, found.beside.files.withdrawn)

    return _change(paths, owner, now, abandon)


def forget_new_root(paths: PkiPaths, owner: Owner, *, now: datetime) -> RotationFacts:
    """Remove the new authority that was given up, with its keys: RETURNING to STEADY.

    Raises:
        FailedError: it was not given up, or cannot be removed.
    """

    def forget(found: Authorities) -> None:
        require_stage(found, Stage.RETURNING, Stage.STEADY, to="to forget the new root")
        if found.beside is not None:
            _unlink(found.beside.files.withdrawn)

    return _change(paths, owner, now, forget)


def replace_root(
    paths: PkiPaths, owner: Owner, *, now: datetime, lifetimes: Lifetimes = DEFAULT_LIFETIMES
) -> RotationFacts:
    """A new authority at once, without a bridge; every other one is removed. From any stage.

    For a root whose key is in wrong hands: nobody who trusts it is believed from here on, so all
    nodes stop and join again.

    Raises:
        FailedError: the new authority does not stand its test, or nothing can be written.
    """

    def replace(_: Authorities) -> None:
        number = Issuance(paths, owner, now, lifetimes).new_authority()
        paths.authorities.use(number)

    return _change(paths, owner, now, replace)


def renew_issuing(
    paths: PkiPaths, owner: Owner, *, now: datetime, lifetimes: Lifetimes = DEFAULT_LIFETIMES
) -> RotationFacts:
    """A new issuing CA under the same root, due or not. What nodes trust does not change.

    Raises:
        RootKeyError: the root's key is not here or cannot be opened.
        FailedError: the root is being rotated, or nothing can be written.
    """

    def renew(found: Authorities) -> None:
        require_stage(found, Stage.STEADY, to="a new issuing CA")
        Issuance(paths, owner, now, lifetimes).renew_issuing(found.current, ASKED_FOR)

    return _change(paths, owner, now, renew)


def sweep_authorities(paths: PkiPaths, found: Authorities | None) -> None:
    """Remove what killed runs left, and every authority that is neither in use nor of a rotation.

    Raises:
        FailedError: something could not be removed.
    """
    kept = (found.current, found.beside) if found else ()
    paths.authorities.sweep({one.number for one in kept if one is not None})


def _change(
    paths: PkiPaths, owner: Owner, now: datetime, act: Callable[[Authorities], None]
) -> RotationFacts:
    prepare(paths)
    with alone(paths):
        found = require_authorities(paths, owner.cluster)
        sweep_authorities(paths, found)
        act(found)
        found = require_authorities(paths, owner.cluster)
        sweep_authorities(paths, found)
    return rotation_facts(found, now)


def _require_issuing(new: Authority) -> Signer:
    if new.issuing is None:
        raise FailedError(
            "SR-PKI-014",
            f"the new authority cannot be used: {new.defect or 'its issuing CA is missing'}",
            fix=f"put {new.files.root_certificate.parent} back from a copy; or take the rotation"
            " back: secure-ray rotate-certs --rollback",
        )
    return new.issuing


def _require_bridge(new: Authority) -> None:
    _require_issuing(new)
    if bridge_of(new) is None:
        raise FailedError(
            "SR-PKI-014",
            f"{new.files.bridge} does not certify the new issuing CA under the old root",
            fix="put it back from a copy; or secure-ray rotate-certs --resume makes it again",
        )


def _unlink(path: Path) -> None:
    try:
        path.unlink()
        sync_directory(path.parent)
    except OSError as error:
        raise os_failure("remove", path, error) from None


def _rename(source: Path, target: Path) -> None:
    try:
        source.replace(target)
        sync_directory(source.parent)
    except OSError as error:
        raise os_failure("write", target, error) from None
