"""The environment of a program that becomes a driver."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from secure_ray.base.errors import FailedError, RefusedError
from secure_ray.base.locks import lock
from secure_ray.node.drive import prepare_driver
from secure_ray.node.environment import driver_environment
from secure_ray.node.instance import write_instance
from support.plans import instance_of, make_directories, plan_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from secure_ray.node.plan import LaunchPlan

OWN = str(Path(sys.executable).parent)


@pytest.fixture
def plan(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LaunchPlan]:
    """A running cluster, seen from an empty directory."""
    monkeypatch.chdir(home)
    plan = make_directories(plan_of(home))
    write_instance(instance_of(plan))
    with lock(plan.paths.supervisor_lock, wait=0):
        yield plan


def driver(plan: LaunchPlan, **caller: str) -> tuple[dict[str, str], tuple[str, ...]]:
    return prepare_driver(plan.paths, {"HOME": str(plan.paths.home)} | caller)


def test_driver_gets_what_it_needs_over_its_own(plan: LaunchPlan) -> None:
    environment, notices = driver(plan, MY_DATA="x", PYTHONPATH="/mine", PATH="/bin")

    assert environment == driver_environment(plan) | {
        "HOME": str(plan.paths.home),
        "MY_DATA": "x",
        # The user's own program: what is put into it is the user's affair.
        "PYTHONPATH": "/mine",
        "PATH": f"{OWN}:/bin",
    }
    assert notices == ()


def test_driver_without_a_path_gets_the_default(plan: LaunchPlan) -> None:
    assert driver(plan)[0]["PATH"] == f"{OWN}:{os.defpath}"


def test_what_steers_ray_is_replaced_and_the_rest_of_it_named(plan: LaunchPlan) -> None:
    environment, (notice,) = driver(
        plan, RAY_ADDRESS="192.0.2.1:6379", RAY_BRAND_NEW="1", RAY_JOB_CONFIG_JSON_ENV_VAR="{}"
    )

    assert environment["RAY_ADDRESS"].startswith("127.0.0.1:")
    assert "RAY_BRAND_NEW" not in environment
    assert "RAY_JOB_CONFIG_JSON_ENV_VAR" not in environment
    # Replaced by ours, so there is nothing to tell.
    assert "RAY_ADDRESS" not in notice
    assert "RAY_BRAND_NEW" in notice


@pytest.mark.parametrize(
    ("name", "value"),
    [("RAY_AUTH_MODE", "disabled"), ("RAY_AUTH_MODE", "tokn"), ("RAY_USE_TLS", "0")],
)
def test_what_contradicts_a_protection_is_refused(plan: LaunchPlan, name: str, value: str) -> None:
    with pytest.raises(RefusedError) as caught:
        driver(plan, **{name: value})

    assert [refusal.source for refusal in caught.value.refusals] == ["environment"]


def test_hosts_without_a_proxy_are_kept(plan: LaunchPlan) -> None:
    environment, _ = driver(plan, no_proxy="a.example", NO_PROXY="b.example")

    assert environment["no_proxy"] == environment["NO_PROXY"]
    assert environment["no_proxy"].split(",") == ["a.example", "127.0.0.1", "localhost", "::1"]


@pytest.mark.parametrize("refused", [True, False])
def test_dotenv_is_judged_like_the_environment(
    plan: LaunchPlan, home: Path, *, refused: bool
) -> None:
    (home / ".env").write_text(f"RAY_AUTH_MODE={'disabled' if refused else 'token'}\n")

    if refused:
        with pytest.raises(RefusedError) as caught:
            driver(plan)
        assert [refusal.source for refusal in caught.value.refusals] == [".env"]
    else:
        assert driver(plan)[1] == ()


def test_driver_needs_a_cluster(home: Path) -> None:
    with pytest.raises(FailedError) as caught:
        driver(plan_of(home))

    assert caught.value.code == "SR-STATE-004"
