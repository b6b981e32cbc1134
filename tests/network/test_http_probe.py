from __future__ import annotations

import socket

import pytest

from secure_ray.base.secrets import Secret
from secure_ray.network.http_probe import NoAnswerError, probe_http
from support.servers import CLUSTER_TOKEN, http_server


@pytest.mark.parametrize(
    ("token", "status"),
    [(None, 401), ("wrong", 403), (CLUSTER_TOKEN, 200)],
    ids=["none", "wrong", "right"],
)
def test_status(token: str | None, status: int) -> None:
    secret = None if token is None else Secret(token)
    with http_server() as port:
        answer = probe_http("127.0.0.1", port, "/api/jobs/", token=secret, timeout=10)
    assert answer.status == status
    assert len(answer.sample) == 256


def test_redirect_is_not_followed() -> None:
    with http_server() as port:
        token = Secret(CLUSTER_TOKEN)
        assert probe_http("127.0.0.1", port, "/redirect", token=token, timeout=10).status == 302


def test_proxy_of_the_environment_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with http_server() as port:
        assert probe_http("127.0.0.1", port, "/", token=None, timeout=10).status == 401


def test_nobody_there() -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        with pytest.raises(NoAnswerError, match="refused"):
            probe_http("127.0.0.1", held.getsockname()[1], "/", token=None, timeout=10)


def test_silent_server() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        pytest.raises(NoAnswerError, match="timed out"),
    ):
        probe_http("127.0.0.1", server.getsockname()[1], "/", token=None, timeout=0.05)
