"""From a decision to a plan whose files, keys and ports are there; or, for a preview, are not."""

from __future__ import annotations

import stat
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from secure_ray.base.errors import FailedError
from secure_ray.base.files import write_private
from secure_ray.network.guard.rules import LOCAL_RULES
from secure_ray.network.listeners import can_bind
from secure_ray.node import prepare as module
from secure_ray.node.cluster import Membership, ensure_cluster, read_cluster, write_cluster
from secure_ray.node.environment import guard_rules
from secure_ray.node.paths import ClusterPaths, RunPaths
from secure_ray.node.place import Place
from secure_ray.node.prepare import Prepared, prepare, preview
from secure_ray.pki.credentials import make_ephemeral_credentials
from secure_ray.policy.store import StoreKind
from support.plans import (
    GUARD,
    NOW,
    VERSIONS,
    decision_of,
    free_base,
    ports_of,
    settings_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from secure_ray.network.guard.rules import GuardRules
    from secure_ray.node.plan import LaunchPlan

    Make = Callable[..., Prepared]


@pytest.fixture
def paths(home: Path) -> ClusterPaths:
    return ClusterPaths(home, "a")


@pytest.fixture
def make(paths: ClusterPaths) -> Iterator[Make]:
    """`prepare` for settings; the ports that a test holds are let go."""
    reservations = []

    def make(toml: str = "", **more: Any) -> Prepared:
        prepared = prepare(decision_of(toml), paths, caller={}, now=NOW, **more)
        reservations.append(prepared.reservation)
        return prepared

    yield make
    for reservation in reservations:
        reservation.close()


def everything(directory: Path) -> dict[str, tuple[int, float]]:
    return {
        str(path.relative_to(directory)): (path.lstat().st_ino, path.lstat().st_mtime)
        for path in directory.rglob("*")
    }


def test_first_start_makes_all_and_tells_it(make: Make, paths: ClusterPaths) -> None:
    prepared = make()

    assert "cluster token made" in prepared.changes
    assert any("root" in change for change in prepared.changes)
    plan = prepared.plan
    for file in (plan.certificates / "node.key", paths.token, paths.passphrase):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert len(paths.token.read_bytes()) == 64
    assert plan.run == RunPaths(paths.directory / "run")
    cluster = read_cluster(paths)
    assert cluster is not None
    assert (cluster.id, cluster.base) == (plan.cluster_id, plan.ports.base)


def test_block_of_ports_is_held_until_it_is_let_go(make: Make) -> None:
    prepared = make()
    port = prepared.plan.ports.reservation

    assert not can_bind("127.0.0.1", port)
    prepared.reservation.close()
    assert can_bind("127.0.0.1", port)


def test_second_start_changes_nothing(make: Make, paths: ClusterPaths) -> None:
    first = make()
    first.reservation.close()
    token, root = (
        paths.token.read_bytes(),
        (paths.pki / "authority" / "current" / "root.crt").read_bytes(),
    )

    second = make()

    assert second.changes == ()
    assert second.plan == first.plan
    assert second.certificate_expires == first.certificate_expires
    assert paths.token.read_bytes() == token
    assert (paths.pki / "authority" / "current" / "root.crt").read_bytes() == root


def test_lives_of_the_settings_are_those_of_the_leaf(make: Make) -> None:
    expires = datetime.fromisoformat(make("[pki]\nleaf_days = 5").certificate_expires)

    assert timedelta(days=4) < expires - NOW <= timedelta(days=5)


def test_passphrase_lies_where_the_settings_say(
    make: Make, home: Path, paths: ClusterPaths
) -> None:
    (home / "vault").mkdir(mode=0o700)
    chosen = home / "vault" / "phrase"

    make(f'[pki]\npassphrase_file = "{chosen}"')

    assert chosen.is_file()
    assert not paths.passphrase.exists()


def test_ephemeral_cluster_keeps_no_authority(make: Make, paths: ClusterPaths) -> None:
    prepared = make(ephemeral=True, working_directory=Path("/work"))

    assert prepared.plan.ephemeral
    assert prepared.plan.working_directory == Path("/work")
    assert sorted(path.name for path in paths.pki.rglob("*.key")) == ["node.key"]
    assert datetime.fromisoformat(prepared.certificate_expires) - NOW <= timedelta(days=30)


@pytest.mark.parametrize("full", ["directory", "run"])
def test_full_disk_is_told_before_anything_is_made(
    make: Make, paths: ClusterPaths, monkeypatch: pytest.MonkeyPatch, full: str
) -> None:
    place = paths.directory / "run" if full == "run" else paths.directory
    monkeypatch.setattr(module, "free_bytes", lambda path: 5 << 20 if path == place else 500 << 30)

    with pytest.raises(FailedError) as caught:
        make('[limits]\nmin_free_disk = "1GiB"')

    assert caught.value.code == "SR-FILE-006"
    assert f"5 MiB are free at {place}" in caught.value.cause
    assert not paths.token.exists()
    assert not paths.pki.exists()


def test_full_disk_loses_nothing(make: Make, paths: ClusterPaths) -> None:
    make().reservation.close()
    token = paths.token.read_bytes()

    with pytest.raises(FailedError):
        make('[limits]\nmin_free_disk = "100000TiB"')

    assert paths.token.read_bytes() == token
    make()


def test_token_that_is_none_is_not_replaced(make: Make, paths: ClusterPaths) -> None:
    make().reservation.close()
    paths.token.write_text("short")

    with pytest.raises(FailedError) as caught:
        make()

    assert caught.value.code == "SR-PKI-012"
    assert paths.token.read_text() == "short"


def session(ray: Path, name: str) -> Path:
    logs = ray / name / "logs"
    logs.mkdir(parents=True)
    (logs / "raylet.out").touch()
    return ray / name


def test_logs_of_the_last_three_starts_are_kept(make: Make, paths: ClusterPaths) -> None:
    ray = ensure_cluster(paths).run_paths.ray
    names = [f"session_2026-11-{day:02}_10-00-00_000000_{day}" for day in (3, 12, 1, 9, 22)]
    for name in names:
        session(ray, name)
    (ray / "session_latest").symlink_to(names[-1])

    make()

    assert sorted(path.name for path in ray.iterdir()) == [
        names[3],
        names[1],
        names[4],
        "session_latest",
    ]


def test_link_among_old_sessions_is_not_followed(
    make: Make, paths: ClusterPaths, home: Path
) -> None:
    ray = ensure_cluster(paths).run_paths.ray
    target = session(home, "precious")
    for day in range(1, 6):
        (ray / "x").mkdir(parents=True, exist_ok=True)
        (ray / f"session_2026-11-{day:02}").symlink_to(target)

    make()

    assert (target / "logs" / "raylet.out").exists()


def preview_of(paths: ClusterPaths, toml: str = "") -> LaunchPlan:
    return preview(decision_of(toml), paths, caller={})


def test_preview_writes_nothing(home: Path) -> None:
    paths = ClusterPaths(home / "new", "a")

    plan = preview_of(paths)

    assert plan.versions == VERSIONS
    assert list(home.iterdir()) == []


def test_preview_of_a_known_cluster_is_its_plan_and_changes_nothing(
    make: Make, paths: ClusterPaths, home: Path
) -> None:
    prepared = make()
    prepared.reservation.close()
    before = everything(home)

    assert preview_of(paths) == prepared.plan
    assert everything(home) == before


def test_preview_holds_no_ports(paths: ClusterPaths) -> None:
    assert can_bind("127.0.0.1", preview_of(paths).ports.reservation)


def test_two_clusters_share_no_port_and_no_file(home: Path) -> None:
    prepared = [
        prepare(decision_of(), ClusterPaths(home, name), caller={}, now=NOW) for name in ("a", "b")
    ]
    with closing(prepared[0].reservation), closing(prepared[1].reservation):
        first, second = (entry.plan for entry in prepared)
        assert first.ports.base != second.ports.base
        assert first.cluster_id != second.cluster_id
        assert not set(first.private_directories) & set(second.private_directories)
        assert first.paths.token.read_bytes() != second.paths.token.read_bytes()


NODE = "127.0.0.5"  # stands for the node's address; it is on this host


@pytest.fixture
def member(paths: ClusterPaths, monkeypatch: pytest.MonkeyPatch) -> Membership:
    """This host has joined, with a leaf and a token, at the address NODE."""
    cluster = ensure_cluster(paths)
    membership = Membership(
        node="89abcdef01234567",
        name="w1",
        address=NODE,
        head="10.77.0.1",
        door=1,
        ports=ports_of(settings_of(), base=free_base(NODE), private=True),
    )
    write_cluster(paths, replace(cluster, membership=membership))
    for directory in (paths.pki, paths.pki / "node"):
        directory.mkdir(mode=0o700)
    make_ephemeral_credentials(
        paths.pki / "node" / "current", sans=(NODE,), now=NOW, lifetime=timedelta(days=90)
    )
    write_private(paths.token, b"0" * 64)
    monkeypatch.setattr(module, "guard_library", lambda: GUARD)
    return membership


@pytest.fixture
def tested(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Path, GuardRules]]:
    """What the guard was tested with."""
    calls: list[tuple[Path, GuardRules]] = []
    monkeypatch.setattr(module, "self_test", lambda *given: calls.append(given))
    return calls


def test_worker_is_planned_as_its_head_told_it(
    paths: ClusterPaths, member: Membership, tested: list[tuple[Path, GuardRules]]
) -> None:
    prepared = prepare(decision_of(address=NODE), paths, caller={}, now=NOW)

    with closing(prepared.reservation):
        plan = prepared.plan
        assert plan.place == Place("w1", NODE, "10.77.0.1")
        assert (plan.ports, plan.head_ports) == (member.ports.for_worker(), member.ports)
        assert plan.cluster_id == member.node
        assert plan.guard == GUARD
        assert f"--address=10.77.0.1:{member.ports.port('gcs')}" in plan.argv
        assert not can_bind("127.0.0.1", plan.ports.reservation)
    assert tested == [(GUARD, guard_rules(plan.place, plan.ports))]
    assert prepared.changes == ()
    assert not (paths.pki / "authority" / "current" / "root.crt").exists()


def test_preview_of_a_worker_is_what_is_started(
    paths: ClusterPaths, member: Membership, tested: list[tuple[Path, GuardRules]]
) -> None:
    decision = decision_of(address=NODE)
    shown = preview(decision, paths, caller={})
    prepared = prepare(decision, paths, caller={}, now=NOW)
    prepared.reservation.close()

    assert shown == prepared.plan
    assert member.ports == shown.head_ports
    assert len(tested) == 2


@pytest.mark.parametrize("act", [partial(prepare, now=NOW), preview], ids=["prepare", "preview"])
def test_worker_that_has_moved_is_told_to_join_again(
    paths: ClusterPaths, member: Membership, act: Callable[..., object]
) -> None:
    decision = decision_of(address="127.0.0.6")

    with pytest.raises(FailedError) as caught:
        act(decision, paths, caller={})

    assert caught.value.code == "SR-JOIN-044"
    assert f"joined as {member.address} and reaches its head from 127.0.0.6" in caught.value.cause
    assert "join-token create" in caught.value.fix


def test_guard_that_does_not_hold_lets_the_ports_go(
    paths: ClusterPaths, member: Membership, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_given: object) -> None:
        raise FailedError("SR-GUARD-003", "it does not hold", fix="")

    monkeypatch.setattr(module, "self_test", fails)

    with pytest.raises(FailedError, match="SR-GUARD-003"):
        prepare(decision_of(address=NODE), paths, caller={}, now=NOW)

    assert can_bind("127.0.0.1", member.ports.reservation)


def test_local_mode_is_guarded_too(make: Make, tested: list[tuple[Path, GuardRules]]) -> None:
    assert make().plan.guard is not None
    assert [rules for _, rules in tested] == [LOCAL_RULES]


@pytest.mark.parametrize("missing", ["guard_library", "self_test"])
def test_local_mode_goes_on_without_a_guard_and_says_so(
    make: Make, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    def fails(*_given: object) -> None:
        raise FailedError("SR-GUARD-001", "no compiler", fix="")

    monkeypatch.setattr(module, missing, fails)

    prepared = make()

    assert prepared.plan.guard is None
    assert "LD_PRELOAD" not in prepared.plan.environment
    assert prepared.plan.environment["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] == "0"
    assert [line for line in prepared.warnings if "SR-GUARD-001: no compiler" in line]


def test_head_in_private_mode_is_where_it_was_decided(
    paths: ClusterPaths,
    monkeypatch: pytest.MonkeyPatch,
    tested: list[tuple[Path, GuardRules]],
) -> None:
    monkeypatch.setattr(module, "guard_library", lambda: GUARD)

    prepared = prepare(decision_of(address=NODE), paths, caller={}, now=NOW)

    prepared.reservation.close()
    assert prepared.plan.place == Place("head", NODE, NODE)
    assert prepared.plan.ports.private
    assert prepared.plan.head_ports == prepared.plan.ports
    assert [rules.node for _, rules in tested] == [NODE]


def test_files_of_redis_are_checked_before_anything_starts(make: Make, home: Path) -> None:
    password = home / "password"
    password.write_text("hunter2")
    password.chmod(0o644)

    with pytest.raises(FailedError) as caught:
        make(f'[redis]\naddress = "redis://127.0.0.1:1"\npassword_file = "{password}"')

    assert caught.value.code == "SR-FILE-002"


def test_cluster_of_one_program_keeps_no_store(paths: ClusterPaths) -> None:
    """It would cost a start that nothing is gained by, and in a shared Redis meet another."""
    decision = replace(decision_of(), store=StoreKind.ROCKSDB)
    prepared = prepare(decision, paths, caller={}, now=NOW, ephemeral=True)

    with closing(prepared.reservation):
        assert prepared.plan.store is StoreKind.MEMORY
        assert not any(name.startswith("RAY_gcs_storage") for name in prepared.plan.environment)


def test_store_of_another_start_is_settled_and_told(make: Make, paths: ClusterPaths) -> None:
    ensure_cluster(paths)
    (paths.store / "ray-2.56.0-python-3.9").mkdir(parents=True)
    paths.store.chmod(0o700)

    assert any("forgot" in change for change in make().changes)
    assert list(paths.store.iterdir()) == []


def test_head_that_others_can_reach_keeps_its_ports_and_a_preview_does_not_wait(
    paths: ClusterPaths,
    monkeypatch: pytest.MonkeyPatch,
    tested: list[tuple[Path, GuardRules]],
) -> None:
    monkeypatch.setattr(module, "guard_library", lambda: GUARD)
    monkeypatch.setattr("secure_ray.node.choose_ports.LET_GO_SECONDS", 0.1)
    decision = decision_of(address=NODE)
    first = prepare(decision, paths, caller={}, now=NOW)

    with closing(first.reservation), pytest.raises(FailedError) as caught:
        prepare(decision, paths, caller={}, now=NOW)
    with closing(first.reservation):
        assert preview(decision, paths, caller={}).ports.base == first.plan.ports.base

    assert caught.value.code == "SR-NET-013"
    assert tested


def test_what_the_last_start_left_in_temporary_directories_is_gone(
    make: Make, paths: ClusterPaths
) -> None:
    run = make().plan.run
    for directory in (paths.spilled, run.temporary):
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "of a job").write_text("data")

    make()

    assert not paths.spilled.exists()
    assert not (run.temporary / "of a job").exists()


@pytest.mark.parametrize("where", ["spilled", "temporary"])
def test_link_where_objects_are_spilled_is_refused(
    make: Make, paths: ClusterPaths, tmp_path: Path, where: str
) -> None:
    run = make().plan.run
    planted = paths.spilled if where == "spilled" else run.temporary
    planted.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    planted.symlink_to(tmp_path)

    with pytest.raises(FailedError, match="symbolic link"):
        make()

    assert planted.is_symlink()
