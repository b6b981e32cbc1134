"""A program that joins a cluster is judged by the rules for a driver."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from secure_ray.base.errors import RefusedError, UsageError
from secure_ray.node.judge_driver import judge_driver
from secure_ray.policy.knobs import Kind
from secure_ray.policy.review import Request

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def empty_directory(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(home)


def judge(home: Path, *arguments: Request, trusted: bool = False, **environ: str) -> frozenset[str]:
    return judge_driver(
        {"HOME": str(home)} | environ, ray_version="2.60.0", arguments=arguments, trusted=trusted
    )


def test_what_steers_ray_is_dropped_and_the_rest_is_the_users_own(home: Path) -> None:
    dropped = judge(
        home,
        RAY_AUTH_TOKEN="x",
        RAY_BRAND_NEW="1",
        RAY_ADDRESS="192.0.2.1:6379",
        PYTHONPATH="/mine",
        LD_PRELOAD="/mine.so",
        MY_DATA="x",
    )

    assert dropped == {"RAY_AUTH_TOKEN", "RAY_BRAND_NEW", "RAY_ADDRESS"}


@pytest.mark.parametrize("where", ["environment", ".env"])
@pytest.mark.parametrize(
    ("name", "value"), [("RAY_AUTH_MODE", "disabled"), ("RAY_USE_TLS", "0"), ("RAY_DEBUG", "1")]
)
def test_what_contradicts_a_protection_is_refused(
    home: Path, where: str, name: str, value: str
) -> None:
    if where == ".env":
        (home / ".env").write_text(f"{name}={value}\n")

    with pytest.raises(RefusedError) as caught:
        judge_driver({name: value} if where == "environment" else {}, ray_version="2.60.0")

    assert [refusal.source for refusal in caught.value.refusals] == [where]


def test_variables_of_a_dotenv_that_only_steer_ray_are_not_in_the_environment(home: Path) -> None:
    (home / ".env").write_text("RAY_BRAND_NEW=1\n")

    assert judge(home) == frozenset()


def test_all_refusals_come_at_once(home: Path) -> None:
    (home / ".env").write_text("RAY_USE_TLS=0\n")
    argument = Request(Kind.ARGUMENT, "dashboard_host", "0.0.0.0", "argument dashboard_host")

    with pytest.raises(RefusedError) as caught:
        judge(home, argument, RAY_AUTH_MODE="disabled")

    assert {refusal.source for refusal in caught.value.refusals} == {
        "argument dashboard_host",
        ".env",
        "environment",
    }


@pytest.mark.parametrize("way", ["recorded", "named", "gone", "another"])
def test_settings_of_the_clusters_start_count_unless_others_are_named(home: Path, way: str) -> None:
    """An argument that the table does not know is let through by `allow_flags` only."""
    (home / "own.toml").write_text('[ray]\nallow_flags = ["--brand-new"]\n')
    (home / "other.toml").write_text("")
    argument = Request(Kind.ARGUMENT, "brand_new", "1", "argument brand_new")
    named = {"named": home / "own.toml", "another": home / "other.toml"}.get(way)
    recorded = home / ("gone.toml" if way == "gone" else "own.toml")

    def judge_it() -> None:
        judge_driver(
            {},
            ray_version="2.60.0",
            config=named,
            started_with=None if way == "named" else recorded,
            arguments=(argument,),
        )

    if way in {"recorded", "named"}:
        judge_it()
    else:
        with pytest.raises(RefusedError):
            judge_it()


def test_environment_of_a_job_is_ours_and_its_arguments_are_not(home: Path) -> None:
    (home / ".env").write_text("RAY_USE_TLS=0\n")
    assert judge(home, trusted=True, RAY_AUTH_MODE="disabled") == frozenset()

    argument = Request(Kind.ARGUMENT, "dashboard_host", "0.0.0.0", "argument dashboard_host")
    with pytest.raises(RefusedError):
        judge(home, argument, trusted=True)


def test_dotenv_that_somebody_else_could_have_written_is_refused(home: Path) -> None:
    (home / ".env").touch()
    (home / ".env").chmod(0o666)

    with pytest.raises(UsageError, match="SR-CFG-005"):
        judge(home)
