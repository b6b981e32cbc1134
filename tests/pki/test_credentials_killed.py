"""A run may be killed anywhere: the next one finishes, and loses nothing that is whole.

The kill is simulated at every step that changes the disk. After it nothing changes any more, so
not even the clean-up of a `finally` happens: as after SIGKILL or a power cut.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from secure_ray.pki.facts import read_facts
from secure_ray.pki.keys import key_from_pem
from secure_ray.pki.store import PkiPaths
from support.power import survives

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pki.conftest import Node

DAY = timedelta(days=1)


def in_directory(node: Node, directory: Path) -> Node:
    """The same node with nothing made yet, elsewhere."""
    paths = PkiPaths(directory / "state" / "pki", directory / "passphrases" / "default")
    return replace(node, paths=paths)


def whole_root(paths: PkiPaths) -> tuple[bytes, bytes] | None:
    """Certificate and sealed key of the root; None when it is not whole yet."""
    if not paths.authority.root_certificate.exists():
        return None
    return paths.authority.root_certificate.read_bytes(), paths.authority.root_key.read_bytes()


def assert_fits(node: Node) -> None:
    """Key and certificate in use are of one pair, which chains to the root that is trusted."""
    files = node.paths.leaf
    leaf, issuing = x509.load_pem_x509_certificates(files.certificate.read_bytes())
    [root] = x509.load_pem_x509_certificates(files.authority.read_bytes())
    leaf.verify_directly_issued_by(issuing)
    issuing.verify_directly_issued_by(root)
    assert key_from_pem(files.key.read_bytes()).public_key() == leaf.public_key()
    assert files.authority.read_bytes() == node.paths.authority.root_certificate.read_bytes()


def assert_nothing_is_left_over(node: Node) -> None:
    expected = {"lock", "authority", "node"}
    assert {entry.name for entry in node.paths.directory.iterdir()} == expected
    generation = node.paths.authorities.link.readlink().name
    authorities = {entry.name for entry in node.paths.authorities.directory.iterdir()}
    assert authorities == {"current", generation}
    assert [entry.name for entry in node.paths.passphrase.parent.iterdir()] == ["default"]
    generations = sorted(entry.name for entry in node.paths.node.iterdir())
    assert len(generations) <= 3
    assert set(generations) >= {"current", str(node.paths.current.readlink())}


def nothing(_: Node) -> None:
    """Before the first run."""


def once(node: Node) -> None:
    node.ensure()


def often(node: Node) -> None:
    """Three generations: the next run has one to remove."""
    for name in ("a", "b", "c"):
        node.ensure(sans=("localhost", name))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (nothing, 0 * DAY),
        (once, 0 * DAY),
        (once, 45 * DAY),
        (once, 200 * DAY),
        (often, 45 * DAY),
        (often, 366 * DAY),
    ],
    ids=["first run", "nothing due", "leaf due", "issuing due", "third leaf", "all expired"],
)
def test_killed_at_any_step_the_next_run_finishes(
    node: Node, tmp_path: Path, before: Callable[[Node], None], after: timedelta
) -> None:
    kills = 0
    while True:
        fresh = in_directory(node, tmp_path / str(kills))
        before(fresh)
        survived = survives(partial(fresh.ensure, after), kills)
        root = whole_root(fresh.paths)
        if before is not nothing:
            assert root is not None
            assert_fits(fresh)

        result = fresh.ensure(after)

        assert_fits(fresh)
        assert 0 <= result.leaf.life_used(fresh.birth + after) < 0.5
        assert root in (None, whole_root(fresh.paths))
        assert fresh.ensure(after).changes == ()
        assert_nothing_is_left_over(fresh)
        if survived:
            break
        kills += 1
    assert kills >= (0 if after == 0 * DAY and before is once else 15)


def test_a_first_run_that_was_killed_leaves_no_root_behind(node: Node, tmp_path: Path) -> None:
    """The step before the link: nobody knows of that root yet, so it goes."""
    steps = 0
    while not list(node.paths.directory.glob("authority/a*")):
        steps += 1
        node = in_directory(node, tmp_path / str(steps))
        survives(node.ensure, steps)
    assert whole_root(node.paths) is None
    passphrase = node.paths.passphrase.read_bytes()

    node.ensure()

    assert node.paths.passphrase.read_bytes() == passphrase
    assert_nothing_is_left_over(node)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    kills=st.lists(st.tuples(st.integers(0, 40), st.sampled_from([0, 45, 200, 366])), max_size=5)
)
def test_killed_again_and_again_the_last_run_finishes(
    node: Node, tmp_path_factory: pytest.TempPathFactory, kills: list[tuple[int, int]]
) -> None:
    node = in_directory(node, tmp_path_factory.mktemp("killed"))
    root: tuple[bytes, bytes] | None = None
    for steps, days in sorted(kills, key=lambda kill: kill[1]):
        survives(partial(node.ensure, days * DAY), steps)
        assert root in (None, whole_root(node.paths))
        root = whole_root(node.paths)

    node.ensure(366 * DAY)

    assert_fits(node)
    assert root in (None, whole_root(node.paths))
    assert read_facts(node.paths.leaf.certificate).life_used(node.birth + 366 * DAY) < 0.5
    assert_nothing_is_left_over(node)
