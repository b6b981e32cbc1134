"""What opens the control store gets to gcs_server and nowhere else, its password by a file."""

from __future__ import annotations

import os
import stat
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from secure_ray.base.errors import FailedError
from secure_ray.base.files import write_private
from secure_ray.node.store import store_environment
from secure_ray.node.store_hook import (
    PASSWORD_FILE_VARIABLE,
    USERNAME_VARIABLE,
    password_node,
    read_credentials,
    read_redis_password,
    withdrawing_node,
)
from secure_ray.policy.store import StoreKind
from secure_ray.settings.model import RedisSettings

if TYPE_CHECKING:
    from pathlib import Path

PASSWORD = "hunter2-hunter2"


class Services:
    """Ray's module that starts processes."""

    def __init__(self) -> None:
        self.started: list[list[str]] = []
        self.flags = ""

    def start_ray_process(self, command: list[str], kind: str) -> str:
        self.started.append(command)
        for word in command:
            if word.startswith("--flagfile="):
                self.flags = word.partition("=")[2]
        return kind


SERVICES = Services()


class Node:
    """Ray's `Node`, as far as the password goes through it."""

    def __init__(self) -> None:
        self._ray_params = SimpleNamespace(redis_username="", redis_password="")
        self.seen = self.check_persisted_session_name()
        self.start_gcs_server()
        self._init_gcs_client()

    def check_persisted_session_name(self) -> tuple[str, str]:
        return self._ray_params.redis_username, self._ray_params.redis_password

    def start_gcs_server(self) -> None:
        parameters = self._ray_params
        command = ["gcs_server", parameters.redis_username + parameters.redis_password]
        SERVICES.start_ray_process(command, "gcs_server")

    def _init_gcs_client(self) -> None:
        pass


@pytest.fixture
def password_file(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = home / "password"
    write_private(path, f"{PASSWORD}\n".encode())
    monkeypatch.setenv(PASSWORD_FILE_VARIABLE, str(path))
    monkeypatch.setenv(USERNAME_VARIABLE, "ray")
    return path


@pytest.mark.usefixtures("password_file")
def test_gcs_server_alone_is_told_and_by_a_file(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    services = Services()
    monkeypatch.setattr(f"{__name__}.SERVICES", services, raising=False)
    monkeypatch.setitem(globals(), "SERVICES", services)
    read: list[tuple[str, int]] = []
    original = Node._init_gcs_client

    def look(self: Any) -> None:
        path = home / "gcs_server.flags"
        read.append((path.read_text(), stat.S_IMODE(path.stat().st_mode)))
        original(self)

    monkeypatch.setattr(Node, "_init_gcs_client", look)

    node = password_node(Node, services, home)()

    assert node.seen == ("ray", PASSWORD)
    assert services.started == [["gcs_server", "", f"--flagfile={home / 'gcs_server.flags'}"]]
    assert read == [(f"--redis_username=ray\n--redis_password={PASSWORD}\n", 0o600)]
    assert not (home / "gcs_server.flags").exists()
    assert services.start_ray_process.__name__ == "start_ray_process"


@pytest.mark.usefixtures("password_file")
def test_file_is_gone_when_gcs_server_does_not_come_up(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_self: Any) -> None:
        raise RuntimeError("no redis")

    monkeypatch.setattr(Node, "_init_gcs_client", fails)

    with pytest.raises(RuntimeError, match="no redis"):
        password_node(Node, Services(), home)()

    assert not (home / "gcs_server.flags").exists()


@pytest.mark.parametrize("missing", ["start_gcs_server", "start_ray_process"])
def test_ray_of_another_make_is_not_started(home: Path, missing: str) -> None:
    node = type("Node", (), {n: None for n in vars(Node) if n != missing})
    services = SimpleNamespace() if missing == "start_ray_process" else Services()

    with pytest.raises(RuntimeError, match="cannot be given a Redis password"):
        password_node(node, services, home)


def test_user_is_the_default_one_when_none_is_named(password_file: Path) -> None:
    assert read_credentials({PASSWORD_FILE_VARIABLE: str(password_file)}) == ("", PASSWORD)


@pytest.mark.parametrize("content", ["", "\n", "two words", "a\nb", "\tx", "pässword", "x" * 513])
def test_what_is_no_password_is_told(home: Path, content: str) -> None:
    write_private(home / "password", content.encode())

    with pytest.raises(FailedError) as caught:
        read_redis_password(home / "password")

    assert caught.value.code == "SR-CFG-022"
    assert not content.strip() or content not in caught.value.cause


def test_password_that_others_may_read_is_refused(password_file: Path) -> None:
    password_file.chmod(0o640)

    with pytest.raises(FailedError) as caught:
        read_redis_password(password_file)

    assert caught.value.code == "SR-FILE-002"


def test_variables_of_the_store_are_withdrawn_once_gcs_server_has_them(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    redis = RedisSettings(
        address="rediss://127.0.0.1:1",
        username="ray",
        password_file="/p",
        ca_file="/ca",
        cert_file="/c",
        key_file="/k",
        server_name="redis",
    )
    told = store_environment(StoreKind.REDIS, redis, home, "id")
    told |= store_environment(StoreKind.ROCKSDB, redis, home, "id")
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    seen: list[set[str]] = []

    class Head:
        def _write_cluster_info_to_kv(self) -> None:
            seen.append(set(told) & set(os.environ))

    withdrawing_node(Head)()._write_cluster_info_to_kv()

    assert seen == [set(told)]
    assert not set(told) & set(os.environ)
