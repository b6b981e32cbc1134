"""A rotation may be cut off before any change of the disk, or find the disk full at any write.

Afterwards there is a whole root and a pair that can be used, and the next run gets to the end that
was wanted: forth, or back.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from cryptography import x509

from secure_ray.base.files import write_private
from secure_ray.base.secrets import Secret
from secure_ray.pki.authority import Stage
from secure_ray.pki.keys import key_from_pem
from secure_ray.pki.offline import export_root
from secure_ray.pki.store import PkiPaths
from secure_ray.pki.trust import is_believed, root_pin
from support.power import fits, survives

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pki.conftest import Node

BACK = {
    Stage.STEADY: (),
    Stage.BRIDGED: ("abandon_root", "forget_new_root"),
    Stage.SWITCHED: ("switch_back", "abandon_root", "forget_new_root"),
    Stage.RETURNING: ("forget_new_root",),
}
FORTH = {
    Stage.STEADY: ("begin_root", "switch_root", "retire_root"),
    Stage.BRIDGED: ("switch_root", "retire_root"),
    Stage.SWITCHED: ("retire_root",),
    Stage.RETURNING: ("begin_root", "switch_root", "retire_root"),
}


def at(node: Node, directory: Path) -> Node:
    paths = PkiPaths(directory / "state" / "pki", directory / "passphrases" / "default")
    made = replace(node, paths=paths)
    made.ensure()
    return made


def assert_usable(node: Node) -> None:
    """A peer in the same dress believes the leaf in use, whose key is here; so is each root's."""
    files = node.paths.leaf
    chain = x509.load_pem_x509_certificates(files.certificate.read_bytes())
    trusted = x509.load_pem_x509_certificates(files.authority.read_bytes())
    assert is_believed(chain, trusted)
    assert key_from_pem(files.key.read_bytes()).public_key() == chain[0].public_key()
    found = node.authorities
    passphrase = Secret(node.paths.passphrase.read_text())
    for one in (found.current, found.beside):
        if one is not None:
            key = key_from_pem(one.files.root_key.read_bytes(), passphrase)
            assert key.public_key() == one.root.public_key()


def assert_nothing_is_left_over(node: Node) -> None:
    found = node.authorities
    kept = {one.files.root_key.parent.name for one in (found.current, found.beside) if one}
    there = {entry.name for entry in node.paths.authorities.directory.iterdir()}
    assert there == {"current", *kept}
    assert {entry.name for entry in node.paths.directory.iterdir()} == {"lock", "authority", "node"}


CASES = {
    "begin": ((), ("begin_root",)),
    "switch": (("begin_root",), ("switch_root",)),
    "retire": (("begin_root", "switch_root"), ("retire_root",)),
    "switch back": (("begin_root", "switch_root"), ("switch_back",)),
    "abandon": (("begin_root",), ("abandon_root",)),
    "take up again": (("begin_root", "abandon_root"), ("begin_root",)),
    "forget": (("begin_root", "abandon_root"), ("forget_new_root",)),
    "renew issuing": ((), ("renew_issuing",)),
    "replace": ((), ("replace_root",)),
    "replace half-way": (("begin_root",), ("replace_root",)),
    "replace after the switch": (("begin_root", "switch_root"), ("replace_root",)),
}
CUTS = pytest.mark.parametrize("cut", [survives, fits], ids=["power cut", "disk full"])


@CUTS
@pytest.mark.parametrize(("way", "steps"), list(CASES.values()), ids=list(CASES))
def test_cut_off_anywhere_the_next_run_gets_where_it_is_sent(
    node: Node,
    tmp_path: Path,
    way: tuple[str, ...],
    steps: tuple[str, ...],
    cut: Callable[[Callable[[], object], int], bool],
) -> None:
    cuts, ended = 0, False
    origin = at(node, tmp_path / "origin")
    origin.turn(*way)
    origin.ensure()
    while not ended:
        one = copied(origin, tmp_path / str(cuts))
        roots = {root_pin(root) for root in one.authorities.trusted_roots}

        def run(one: Node = one) -> None:
            one.turn(*steps)
            one.ensure()

        ended = cut(run, cuts)
        assert_usable(one)
        if steps != ("replace_root",):
            after = {root_pin(root) for root in one.authorities.trusted_roots}
            assert after & roots, "no root is lost that was trusted"

        if steps[0] in {"renew_issuing", "replace_root"}:
            one.turn(*steps)
        end = BACK if cuts % 2 else FORTH  # neighbouring cuts leave much the same
        one.turn(*end[one.stage])
        one.ensure()

        assert one.stage is Stage.STEADY
        assert_usable(one)
        assert_nothing_is_left_over(one)
        assert one.ensure().changes == ()
        cuts += 1
    assert cuts >= 4


def copied(node: Node, directory: Path) -> Node:
    import shutil

    shutil.copytree(node.paths.directory.parents[1], directory, symlinks=True)
    paths = PkiPaths(directory / "state" / "pki", directory / "passphrases" / "default")
    return replace(node, paths=paths)


@CUTS
def test_an_export_that_is_cut_off_never_loses_the_root_key(
    node: Node, tmp_path: Path, cut: Callable[[Callable[[], object], int], bool]
) -> None:
    origin = at(node, tmp_path / "origin")
    sealed = origin.paths.authority.root_key.read_bytes()
    cuts, ended = 0, False
    while not ended:
        one, stick = copied(origin, tmp_path / str(cuts)), tmp_path / f"stick{cuts}"

        def run(one: Node = one, stick: Path = stick) -> None:
            export_root(one.paths, stick, cluster="default")

        ended = cut(run, cuts)
        here = one.paths.authority.root_key
        if here.exists():
            assert here.read_bytes() == sealed
            run()
        [copy] = stick.glob("root-*.key")
        [words] = stick.glob("root-*.passphrase")
        key = key_from_pem(copy.read_bytes(), Secret(words.read_text()))
        assert root_pin(one.authorities.current.root).hex()[:16] in copy.name
        assert key.public_key() == one.authorities.current.root.public_key()
        assert not here.exists()
        write_private(one.authorities.current.files.root_key, copy.read_bytes())
        one.turn("renew_issuing")
        cuts += 1
    assert cuts > 5
