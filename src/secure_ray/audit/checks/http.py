"""Each HTTP port keeps out who has no token or a wrong one.

A refusal counts only where the cluster's own token is let in at the same time.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from secure_ray.audit.check import Check
from secure_ray.audit.findings import Rule, Severity
from secure_ray.base.secrets import Secret
from secure_ray.network.addresses import plain_address
from secure_ray.network.http_probe import NoAnswerError, probe_http
from secure_ray.network.listeners import Kind, listeners_of
from secure_ray.pki.token import read_token
from secure_ray.policy.addresses import LOOPBACK
from secure_ray.policy.ports import Protocol

if TYPE_CHECKING:
    from secure_ray.audit.findings import Finding
    from secure_ray.audit.target import Target
    from secure_ray.policy.ports import Component

NO_TOKEN = Rule(
    "SR-AUDIT-020",
    "HTTP refuses a request without the cluster token",
    Severity.CRITICAL,
    expected="HTTP 401",
    fix="stop the cluster: it runs without RAY_AUTH_MODE=token",
)
WRONG_TOKEN = Rule(
    "SR-AUDIT-021",
    "HTTP refuses a request with a wrong token",
    Severity.CRITICAL,
    expected="HTTP 403",
    fix="stop the cluster: it runs without RAY_AUTH_MODE=token",
)

# Before its first answer the dashboard asks three clouds' metadata services whether it runs there,
# and meanwhile serves nobody. Where a firewall swallows that, it takes 12 s with one name server
# (Ray 2.60.0, _common/usage/usage_lib.py `get_cloud_from_metadata_requests`).
TIMEOUT = 45.0
_MISSING, _FORBIDDEN, _SERVER_ERROR = 401, 403, 500


@dataclass(frozen=True)
class Door:
    """Paths of one server.

    Attributes:
        closed: The path that runs code for whoever gets in.
        control: A path that changes nothing; the right token must get past the door there.
    """

    closed: str
    control: str


# Ray 2.60.0: dashboard/modules/job/job_head.py and job_agent.py (CVE-2023-48022), and
# _private/runtime_env/agent/main.py. The last two answer a GET with 405 once the token is right.
DOORS = {
    "dashboard": Door("/api/jobs/", "/api/version"),
    "agent_http": Door("/api/job_agent/jobs/", "/api/job_agent/jobs/"),
    "runtime_env": Door("/get_or_create_runtime_env", "/get_runtime_envs_info"),
}


@dataclass(frozen=True)
class Answers:
    """The status of each request to one port, or why there was none."""

    no_token: int | str
    wrong_token: int | str
    right_token: int | str


@dataclass(frozen=True)
class Server:
    """Where one server listens; some listen on two addresses."""

    component: Component
    host: str
    port: int

    def __str__(self) -> str:
        where = f"{self.component.title}, port {self.port}"
        return where if self.host == LOOPBACK else f"{where} of {self.host}"


def _run(target: Target) -> list[Finding]:
    token = read_token(target.token_path)
    servers = _servers(target)
    with ThreadPoolExecutor(max(1, len(servers))) as threads:
        answers = list(threads.map(lambda server: _ask(server, token), servers))
    return [
        finding
        for server, answer in zip(servers, answers, strict=True)
        for finding in judge(str(server), answer)
    ]


def _servers(target: Target) -> list[Server]:
    live = {
        (plain_address(one.address), one.port)
        for one in listeners_of(target.pids)
        if one.kind is Kind.TCP
    }
    servers = []
    for expected in target.ports.expected(plain_address(target.bind)):
        component = expected.planned.component
        if component.protocol is Protocol.HTTP and expected.planned in target.ports.of_ray:
            hosts = [host for host in expected.addresses if (host, expected.port) in live]
            # One that does not listen is asked all the same, so that it cannot pass in silence.
            servers += [
                Server(component, host, expected.port) for host in hosts or expected.addresses[:1]
            ]
    return servers


def judge(where: str, answers: Answers) -> list[Finding]:
    """The findings about one port."""
    return [
        _judge_refusal(NO_TOKEN, where, answers.no_token, answers.right_token, _MISSING),
        _judge_refusal(WRONG_TOKEN, where, answers.wrong_token, answers.right_token, _FORBIDDEN),
    ]


def _judge_refusal(
    rule: Rule, where: str, answer: int | str, control: int | str, wanted: int
) -> Finding:
    if isinstance(answer, str):
        return rule.unproven(where, answer)
    if answer != wanted:
        return rule.judge(where, holds=False, actual=f"HTTP {answer}")
    if not _let_in(control):
        return rule.unproven(where, f"the cluster's own token: {_tell(control)}")
    return rule.judge(where, holds=True, actual=f"HTTP {answer}")


def _let_in(control: int | str) -> bool:
    return (
        isinstance(control, int)
        and control < _SERVER_ERROR
        and control not in {_MISSING, _FORBIDDEN}
    )


def _tell(answer: int | str) -> str:
    return f"HTTP {answer}" if isinstance(answer, int) else answer


def _ask(server: Server, token: Secret) -> Answers:
    door = DOORS[server.component.name]

    def status(path: str, token: Secret | None) -> int | str:
        try:
            return probe_http(server.host, server.port, path, token=token, timeout=TIMEOUT).status
        except NoAnswerError as error:
            return f"no answer: {error}"

    return Answers(
        no_token=status(door.closed, None),
        wrong_token=status(door.closed, Secret.random_hex(256)),
        right_token=status(door.control, token),
    )


CHECK = Check("HTTP", (NO_TOKEN, WRONG_TOKEN), _run)
