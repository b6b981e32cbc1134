from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from secure_ray.audit.checks.http import CHECK, DOORS, NO_TOKEN, Answers, judge
from secure_ray.audit.findings import Status
from secure_ray.base.errors import FailedError
from secure_ray.policy.ports import COMPONENTS, Protocol
from support.cluster import hardened_cluster

if TYPE_CHECKING:
    from pathlib import Path

    from secure_ray.audit.target import Target
    from support.servers import Pki


def test_hardened_cluster(target: Target) -> None:
    findings = list(CHECK.run(target))
    assert {finding.status for finding in findings} == {Status.PASS}
    assert len(findings) == 2 * len(DOORS)


def test_every_http_component_has_a_door() -> None:
    assert set(DOORS) == {c.name for c in COMPONENTS if c.protocol is Protocol.HTTP}


def test_server_that_lets_everybody_in(home: Path, pki: Pki) -> None:
    with hardened_cluster(home, pki, http_token=None) as target:
        assert {finding.status for finding in CHECK.run(target)} == {Status.FAIL}


def test_refusals_prove_nothing_when_the_own_token_is_refused(home: Path, pki: Pki) -> None:
    with hardened_cluster(home, pki, http_token="another") as target:
        assert {finding.status for finding in CHECK.run(target)} == {Status.ERROR}


def test_token_that_others_can_read_is_not_used(target: Target) -> None:
    target.token_path.chmod(0o644)
    with pytest.raises(FailedError, match="SR-FILE-002"):
        CHECK.run(target)


@pytest.mark.parametrize(
    ("answers", "statuses"),
    [
        pytest.param(Answers(401, 403, 200), (Status.PASS, Status.PASS), id="hardened"),
        pytest.param(Answers(401, 403, 405), (Status.PASS, Status.PASS), id="past the door"),
        pytest.param(Answers(200, 403, 200), (Status.FAIL, Status.PASS), id="open"),
        pytest.param(Answers(404, 404, 200), (Status.FAIL, Status.FAIL), id="routed first"),
        pytest.param(Answers(500, 500, 200), (Status.FAIL, Status.FAIL), id="broken"),
        pytest.param(Answers("x", 403, 200), (Status.ERROR, Status.PASS), id="silent"),
        pytest.param(Answers(401, 403, 500), (Status.ERROR, Status.ERROR), id="control broken"),
        pytest.param(Answers(401, 403, "x"), (Status.ERROR, Status.ERROR), id="control silent"),
        pytest.param(Answers(200, 403, "x"), (Status.FAIL, Status.ERROR), id="open anyway"),
    ],
)
def test_judge(answers: Answers, statuses: tuple[Status, Status]) -> None:
    findings = judge("dashboard", answers)
    assert tuple(finding.status for finding in findings) == statuses
    assert findings[0].id == NO_TOKEN.code
