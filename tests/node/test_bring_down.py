"""Stopping a cluster: its supervisor is asked, what a dead one left is found, others live on."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from secure_ray.base.errors import FailedError, IncompleteError
from secure_ray.base.locks import lock
from secure_ray.base.processes import ProcessIdentity
from secure_ray.cli.summary import summary
from secure_ray.node import bring_down as module
from secure_ray.node.bring_down import bring_down, clean_up, reset
from secure_ray.node.cluster import ensure_cluster
from secure_ray.node.environment import INSTANCE_VARIABLE
from secure_ray.node.instance import ENDED, Phase, read_instance, write_instance
from secure_ray.node.paths import ClusterPaths
from support.plans import instance_of, plan_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SLEEP = "import signal; print('ready', flush=True); signal.pause()"
STEPS = ["running", "stopping", "stopped"]


@pytest.fixture
def paths(home: Path) -> ClusterPaths:
    return ClusterPaths(home, "a")


@contextmanager
def leftover(mark: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process that carries a cluster's mark."""
    with subprocess.Popen(
        [sys.executable, "-S", "-c", SLEEP], stdout=subprocess.PIPE, env={INSTANCE_VARIABLE: mark}
    ) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            yield process
        finally:
            process.kill()


@contextmanager
def supervisor(paths: ClusterPaths, *, answers: bool = True) -> Iterator[list[Any]]:
    """Holds the lock, takes one request, lets the lock go."""
    asked: list[Any] = []
    held, served = threading.Event(), threading.Event()

    def serve() -> None:
        with lock(paths.supervisor_lock, wait=0):
            held.set()
            connection, _ = server.accept()
            with connection, connection.makefile("rb") as lines:
                asked.append(json.loads(lines.readline()))
                if answers:
                    told = "".join(json.dumps({"phase": step}) + "\n" for step in STEPS)
                    connection.sendall(told.encode())
                else:
                    served.wait(30)

    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(ensure_cluster(paths).run_paths.control))
        server.listen()
        thread = threading.Thread(target=serve)
        thread.start()
        assert held.wait(30)
        try:
            yield asked
        finally:
            served.set()
            thread.join()


def steps_of(paths: ClusterPaths) -> tuple[list[str], tuple[bool, list[str]]]:
    steps: list[str] = []
    return steps, bring_down(paths, steps.append)


def test_what_never_was_is_down(paths: ClusterPaths) -> None:
    assert steps_of(paths) == ([], (False, []))
    assert not paths.directory.exists()


def test_what_is_down_is_down(paths: ClusterPaths) -> None:
    ensure_cluster(paths)

    assert steps_of(paths) == ([], (False, []))


def test_supervisor_is_asked_to_stop(paths: ClusterPaths) -> None:
    with supervisor(paths) as asked:
        assert steps_of(paths) == (STEPS, (True, []))

    assert asked == [{"do": "stop"}]


@pytest.mark.parametrize("code", ["signal.pause()", "os.kill(os.getpid(), signal.SIGSTOP)"])
def test_supervisor_that_does_not_answer_is_ended(
    paths: ClusterPaths, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    monkeypatch.setattr(module, "_STEP_TIMEOUT", 5)
    monkeypatch.setattr(module, "_UNASKED_GRACE", 0.2)
    ensure_cluster(paths)
    holds = "import fcntl, os, signal; fcntl.flock(0, fcntl.LOCK_EX); print(flush=True); "
    with (
        paths.supervisor_lock.open("w") as held,
        subprocess.Popen(
            [sys.executable, "-S", "-c", holds + code], stdin=held, stdout=subprocess.PIPE
        ) as silent,
    ):
        paths.supervisor_lock.chmod(0o600)
        assert silent.stdout is not None
        silent.stdout.readline()
        instance = instance_of(plan_of(paths.home, paths=paths))
        write_instance(replace(instance, supervisor=ProcessIdentity.of(silent.pid)))

        was_running, _ = bring_down(paths, lambda _step: None)

        assert was_running
        assert not psutil.pid_exists(silent.pid)


def test_cluster_whose_record_is_gone_is_known_by_its_instance(paths: ClusterPaths) -> None:
    ensure_cluster(paths)
    write_instance(instance_of(plan_of(paths.home, paths=paths)))
    paths.identity.unlink()

    assert module._known(paths) is not None


@pytest.mark.parametrize("known", [True, False], ids=["its process", "another version's lock"])
def test_supervisor_that_does_not_end_is_told(
    paths: ClusterPaths, monkeypatch: pytest.MonkeyPatch, *, known: bool
) -> None:
    monkeypatch.setattr(module, "_STEP_TIMEOUT", 0.05)
    monkeypatch.setattr(module, "request", lambda *_, **__: iter(()))
    ensure_cluster(paths)
    write_instance(instance_of(plan_of(paths.home, paths=paths)))  # this process is its supervisor
    if not known:
        paths.instance.write_text('{"version": "another"}')

    with lock(paths.supervisor_lock, wait=0), pytest.raises(IncompleteError) as caught:
        bring_down(paths, lambda _step: None)

    assert caught.value.code == "SR-STATE-005"


def test_what_a_killed_supervisor_left_is_stopped_and_named(paths: ClusterPaths) -> None:
    cluster = ensure_cluster(paths)
    other = ensure_cluster(ClusterPaths(paths.home, "b"))
    with leftover(cluster.id) as ours, leftover(other.id) as theirs:
        _, (was_running, left) = steps_of(paths)

        assert not was_running
        assert len(left) == 1
        assert f"(pid {ours.pid})" in left[0]
        assert theirs.poll() is None
        assert clean_up(ClusterPaths(paths.home, "c")) == []


@pytest.mark.parametrize("phase", [phase for phase in Phase if phase not in ENDED])
def test_end_that_a_killed_supervisor_could_not_record_is_recorded(
    paths: ClusterPaths, phase: Phase
) -> None:
    cluster = ensure_cluster(paths)
    plan = plan_of(paths.home, paths=paths, cluster_id=cluster.id)
    write_instance(instance_of(plan, phase))
    with leftover(cluster.id):
        bring_down(paths, lambda _step: None)

    record = read_instance(paths)
    assert record is not None
    assert record.phase is Phase.STOPPED
    assert "killed" in record.reason
    assert summary(paths)["state"] == "stopped"


def test_failure_that_was_recorded_stays(paths: ClusterPaths) -> None:
    cluster = ensure_cluster(paths)
    failed = instance_of(
        plan_of(paths.home, paths=paths, cluster_id=cluster.id), Phase.FAILED, reason="Ray died"
    )
    write_instance(failed)

    bring_down(paths, lambda _step: None)

    assert read_instance(paths) == failed


def test_what_could_not_be_killed_has_not_ended(
    paths: ClusterPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = ensure_cluster(paths)
    write_instance(instance_of(plan_of(paths.home, paths=paths, cluster_id=cluster.id)))
    monkeypatch.setattr(module, "stop_leftovers", lambda *_: ["x: could not be killed"])
    with leftover(cluster.id):
        bring_down(paths, lambda _step: None)

    assert summary(paths)["state"] == "died"


def test_record_in_a_copied_home_does_not_change_the_original(home: Path) -> None:
    original, copy = ClusterPaths(home / "a", "c"), ClusterPaths(home / "b", "c")
    cluster = ensure_cluster(original)
    write_instance(instance_of(plan_of(home, paths=original, cluster_id=cluster.id)))
    before = original.instance.read_bytes()
    shutil.copytree(original.home, copy.home)

    bring_down(copy, lambda _step: None)

    assert original.instance.read_bytes() == before


def test_full_disk_does_not_keep_what_is_left_from_being_stopped(
    paths: ClusterPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_instance: object) -> None:
        raise FailedError("SR-FILE-006", "full", fix="")

    cluster = ensure_cluster(paths)
    write_instance(instance_of(plan_of(paths.home, paths=paths, cluster_id=cluster.id)))
    monkeypatch.setattr(module, "write_instance", fail)
    with leftover(cluster.id) as process:
        _, (_, left) = steps_of(paths)

    assert f"(pid {process.pid})" in left[0]


def test_damaged_record_does_not_keep_what_runs_from_being_stopped(paths: ClusterPaths) -> None:
    mark = secrets.token_hex(8)
    ensure_cluster(paths)
    write_instance(instance_of(plan_of(paths.home, paths=paths, cluster_id=mark)))
    paths.identity.write_text("{")
    with leftover(mark) as process:
        _, (_, left) = steps_of(paths)

    assert f"(pid {process.pid})" in left[0]


def test_record_that_was_planted_is_not_followed(paths: ClusterPaths, home: Path) -> None:
    ensure_cluster(paths)
    paths.identity.rename(home / "elsewhere")
    paths.identity.symlink_to(home / "elsewhere")

    with pytest.raises(FailedError):
        bring_down(paths, lambda _step: None)


def test_reset_removes_all_of_one_cluster(paths: ClusterPaths, home: Path) -> None:
    paths = ClusterPaths(home / ("x" * 60), "a")
    run = ensure_cluster(paths).run_paths.directory
    other = ClusterPaths(paths.home, "b")
    others_run = ensure_cluster(other).run_paths.directory
    for entry in (paths, other):
        entry.passphrase.touch(mode=0o600)
    try:
        assert reset(paths) == [run, paths.passphrase, paths.directory]

        assert not run.exists()
        assert not paths.directory.exists()
        assert not paths.passphrase.exists()
        assert other.directory.is_dir()
        assert other.passphrase.is_file()
        assert others_run.is_dir()
    finally:
        shutil.rmtree(run, ignore_errors=True)
        shutil.rmtree(others_run)


@pytest.mark.root
def test_reset_leaves_a_run_directory_that_is_somebody_elses_now(home: Path) -> None:
    paths = ClusterPaths(home / ("x" * 60), "a")
    run = ensure_cluster(paths).run_paths.directory
    os.chown(run, 12345, 12345)
    try:
        assert reset(paths) == [paths.directory]

        assert run.is_dir()
    finally:
        run.rmdir()


def test_reset_of_what_never_was(paths: ClusterPaths) -> None:
    assert reset(paths) == []


def test_reset_follows_no_link(paths: ClusterPaths, home: Path) -> None:
    ensure_cluster(paths)
    (home / "precious").mkdir()
    (home / "precious" / "file").touch()
    (paths.directory / "spill").symlink_to(home / "precious")

    reset(paths)

    assert (home / "precious" / "file").exists()


@pytest.mark.parametrize("known", [True, False])
def test_reset_of_a_cluster_whose_record_is_damaged(paths: ClusterPaths, *, known: bool) -> None:
    run = ensure_cluster(paths).run_paths
    if known:
        write_instance(instance_of(plan_of(paths.home, paths=paths, run=run)))
    paths.identity.write_text("{")

    reset(paths)

    assert not paths.directory.exists()


@pytest.mark.parametrize("keep", [False, True])
def test_down_forgets_the_store_unless_it_is_to_be_kept(paths: ClusterPaths, *, keep: bool) -> None:
    ensure_cluster(paths)
    (paths.store / "ray").mkdir(parents=True)

    bring_down(paths, lambda _phase: None, keep_store=keep)

    assert paths.store.exists() == keep


def test_clean_up_before_a_start_forgets_nothing(paths: ClusterPaths) -> None:
    """It runs when the head was killed, and the start after it goes on with the store."""
    ensure_cluster(paths)
    (paths.store / "ray").mkdir(parents=True)

    clean_up(paths)

    assert (paths.store / "ray").is_dir()


def test_what_lost_its_mark_is_found_by_the_session_of_its_ray(
    paths: ClusterPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray's agents overwrite their environment at some starts; `base.processes` finds them."""
    plan = plan_of(paths.home, paths=paths)
    ensure_cluster(paths)
    ray = ProcessIdentity(4194305, 1.0)
    asked: list[object] = []

    def find(leader: object) -> list[psutil.Process]:
        asked.append(leader)
        return []

    monkeypatch.setattr("secure_ray.node.start_ray.titled_in_session", find)
    write_instance(instance_of(plan, ray=ray))

    clean_up(paths)

    assert asked
    assert all(leader == ray for leader in asked)


def test_spilled_objects_end_with_their_cluster(paths: ClusterPaths, tmp_path: Path) -> None:
    """Ray leaves them, unencrypted, below an id that no later start looks at."""
    ensure_cluster(paths)
    objects = paths.spilled / "session" / "object"
    objects.parent.mkdir(parents=True)
    objects.write_text("data of a job")
    (objects.parent / "out").symlink_to(tmp_path)

    bring_down(paths, lambda _phase: None)

    assert not paths.spilled.exists()
    assert tmp_path.exists()


def test_interrupted_reset_can_be_run_again(
    paths: ClusterPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is left must not be the passphrase alone, of a cluster that nobody knows."""
    ensure_cluster(paths)
    paths.passphrase.parent.mkdir(exist_ok=True)
    paths.passphrase.write_text("secret")

    def interrupted(path: Path) -> None:
        if path == paths.directory:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, "remove_tree", interrupted)
        with pytest.raises(KeyboardInterrupt):
            reset(paths)

    assert paths.directory.is_dir()
    assert not paths.passphrase.exists()
