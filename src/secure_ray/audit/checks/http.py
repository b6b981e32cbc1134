"""Each HTTP port keeps out who has no token or a wrong one.

A refusal counts only where the cluster's own token is let in at the same time.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from secure_ray.audit.check import Check
from secure_ray.audit.findings import Rule, Severity
from secure_ray.base.files import read_private
from secure_ray.base.secrets import Secret
from secure_ray.network.http_probe import NoAnswerError, probe_http
from secure_ray.policy.ports import Protocol

if TYPE_CHECKING:
    from secure_ray.audit.findings import Finding
    from secure_ray.audit.target import Target
    from secure_ray.policy.ports import PlannedPort

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


def _run(target: Target) -> list[Finding]:
    token = Secret(read_private(target.token_path).decode().strip())
    doors = [entry for entry in target.ports.ports if entry.component.protocol is Protocol.HTTP]
    with ThreadPoolExecutor(max(1, len(doors))) as threads:
        answers = list(threads.map(lambda door: _ask(target.bind, door, token), doors))
    return [
        finding
        for door, answer in zip(doors, answers, strict=True)
        for finding in judge(f"{door.component.title}, port {door.port}", answer)
    ]


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


def _ask(host: str, planned: PlannedPort, token: Secret) -> Answers:
    door = DOORS[planned.component.name]

    def status(path: str, token: Secret | None) -> int | str:
        try:
            return probe_http(host, planned.port, path, token=token, timeout=TIMEOUT).status
        except NoAnswerError as error:
            return f"no answer: {error}"

    return Answers(
        no_token=status(door.closed, None),
        wrong_token=status(door.closed, Secret.random_hex(256)),
        right_token=status(door.control, token),
    )


CHECK = Check("HTTP", (NO_TOKEN, WRONG_TOKEN), _run)
