"""A head whose control store is a Redis with TLS and a password: that lasts, and leaks nothing."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest
import trustme

from support.clusters import Machine
from support.live import until

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [
    pytest.mark.ray,
    pytest.mark.skipif(not shutil.which("redis-server"), reason="redis-server is not installed"),
]

HERE = "127.0.0.1"
_BEGIN = """
import ray
ray.init(log_to_driver=False, namespace="kept")

@ray.remote(num_cpus=0, lifetime="detached", name="kept", max_restarts=-1)
class Kept:
    def answer(self):
        return 42

print(ray.get(Kept.remote().answer.remote()))
"""
_LOOK = """
import ray
ray.init(log_to_driver=False)

@ray.remote(num_cpus=0)
def names():
    import os
    return [name for name in os.environ if "REDIS" in name or "storage" in name]

print(ray.get(names.remote()))
"""
_ASK = """
import ray
ray.init(log_to_driver=False, namespace="kept")
print(ray.get(ray.get_actor("kept").answer.remote(), timeout=60))
"""


@dataclass
class Redis:
    """A Redis that runs, and what a client of it needs."""

    directory: Path
    port: int
    password: str

    def known(self) -> list[str]:
        """The keys that are there."""
        return self.ask("keys", "*").split()

    def ask(self, *words: str) -> str:
        tls = ["--tls", *self._files("--cacert", "ca.crt"), *self._pair()]
        command = ["redis-cli", "-p", str(self.port), *tls, "--user", "ray", *words]
        environment = {"PATH": os.environ["PATH"], "REDISCLI_AUTH": self.password}
        return subprocess.run(
            command, env=environment, capture_output=True, text=True, check=False
        ).stdout

    def _pair(self) -> list[str]:
        return [*self._files("--cert", "client.crt"), *self._files("--key", "client.key")]

    def _files(self, option: str, name: str) -> list[str]:
        return [option, str(self.directory / name)]

    def settings(self) -> str:
        names = {"ca_file": "ca.crt", "cert_file": "client.crt", "key_file": "client.key"}
        files = names | {"password_file": "password"}
        lines = [f'{key} = "{self.directory / name}"' for key, name in files.items()]
        address = f'address = "rediss://{HERE}:{self.port}"'
        return "\n".join(["[redis]", address, 'username = "ray"', *lines, ""])


@pytest.fixture
def redis(home: Path) -> Iterator[Redis]:
    ca = trustme.CA()
    ca.cert_pem.write_to_path(home / "ca.crt")
    for name in ("server", "client"):
        leaf = ca.issue_cert(HERE)
        leaf.cert_chain_pems[0].write_to_path(home / f"{name}.crt")
        leaf.private_key_pem.write_to_path(home / f"{name}.key")
    made = Redis(home, 20000 + os.getpid() % 10000, secrets.token_hex(16))
    (home / "password").write_text(made.password + "\n")
    for path in home.iterdir():
        path.chmod(0o600)
    with redis_server(made):
        until(lambda: made.ask("ping") == "PONG\n", "Redis answers")
        yield made


@contextmanager
def redis_server(redis: Redis) -> Iterator[None]:
    directory = redis.directory
    lines = f"""
bind {HERE}
port 0
tls-port {redis.port}
tls-cert-file {directory}/server.crt
tls-key-file {directory}/server.key
tls-ca-cert-file {directory}/ca.crt
tls-auth-clients yes
save ""
user default off
user ray on >{redis.password} ~* &* +@all
"""
    with subprocess.Popen(
        ["redis-server", "-"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdin is not None
        process.stdin.write(lines)
        process.stdin.close()
        try:
            yield
        finally:
            process.kill()


@pytest.fixture
def machine(home: Path, redis: Redis) -> Iterator[Machine]:
    place = home / "user"
    place.mkdir(mode=0o700)
    machine = Machine(place)
    config = place / "redis.toml"
    overrides = Path(machine.variables.get("SECURE_RAY_CONFIG", os.devnull)).read_text()
    config.write_text(overrides + redis.settings())
    machine.variables["SECURE_RAY_CONFIG"] = str(config)
    yield machine
    machine.clean()


def where_shown(secret: str, machine: Machine) -> list[str]:
    """Processes that were started with the secret, and files of the cluster that hold it."""
    found = []
    for process in machine.processes():
        for name in ("cmdline", "environ"):
            try:
                content = Path(f"/proc/{process.pid}/{name}").read_bytes()
            except OSError:  # it has ended
                continue
            if secret.encode() in content:
                found.append(f"{name} of {process.name()}")
    places = (machine.state, Path(machine.identity()["run"]))
    files = (path for place in places for path in place.rglob("*") if path.is_file())
    return found + [str(path) for path in files if secret.encode() in path.read_bytes()]


def test_redis_keeps_the_control_store_and_its_password_is_shown_nowhere(
    machine: Machine, redis: Redis
) -> None:
    machine.up("--num-cpus", "1")
    assert machine.status()["store"] == "redis"
    assert machine.driver(_BEGIN).stdout.splitlines()[-1:] == ["42"]
    assert {process.name() for process in machine.processes()} >= {"gcs_server", "raylet"}
    assert where_shown(redis.password, machine) == []
    job = machine.driver(_LOOK).stdout.splitlines()[-1]
    assert job == "[]"
    cluster = machine.identity()["id"]
    assert redis.known()
    assert all(key.startswith(f"RAYsecure-ray-{cluster}@") for key in redis.known())

    os.kill(machine.record()["supervisor"]["pid"], signal.SIGKILL)
    until(lambda: machine.status()["state"] == "died", "the supervisor is gone")
    machine.up("--num-cpus", "1")

    assert machine.driver(_ASK).stdout.splitlines()[-1:] == ["42"]
    assert where_shown(redis.password, machine) == []
    assert machine.run("down").returncode == 0
    assert redis.known() == []


def test_redis_that_is_gone_is_told_by_down(machine: Machine, redis: Redis) -> None:
    machine.up("--num-cpus", "1")
    (server,) = (
        process
        for process in psutil.Process().children()
        if process.name().startswith("redis-server")
    )
    assert redis.known()
    server.suspend()
    try:
        result = machine.run("down")
    finally:
        server.resume()

    assert result.returncode == 5
    assert "SR-STATE-011" in result.stderr
    assert machine.run("down").returncode == 0
    assert redis.known() == []
