"""Overrides, the unknown, what cannot be read, and what is never shown."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secure_ray.base.errors import RefusedError
from secure_ray.policy.knobs import Kind
from secure_ray.policy.review import Request, Verdict, review
from secure_ray.policy.rules import RULES

if TYPE_CHECKING:
    from datetime import datetime

Judge = Callable[..., Verdict]
FLAG, VARIABLE, ARGUMENT, KEY = Kind.FLAG, Kind.VARIABLE, Kind.ARGUMENT, Kind.SYSTEM_CONFIG


def rules(verdict: Verdict) -> list[str]:
    return [refusal.rule for refusal in verdict.refusals]


@given(st.text(max_size=9) | st.sampled_from(["Token", "tokn", " token", "token ", "to\u212aen"]))
def test_only_token_is_a_mode(value: str) -> None:
    """Ray takes every other value as `disabled`."""
    verdict = _judge_at_noon("RAY_AUTH_MODE", value)

    safe = value.isascii() and value.lower() == "token"
    assert rules(verdict) == ([] if safe else ["SR-AUTH-001"])


@given(st.text(max_size=5) | st.sampled_from(["1", "TRUE", "True", "yes", "on", "1 ", "01", "t"]))
def test_only_1_and_true_turn_tls_on(value: str) -> None:
    """Ray takes every other value as plaintext."""
    verdict = _judge_at_noon("RAY_USE_TLS", value)

    safe = value == "1" or (value.isascii() and value.lower() == "true")
    assert rules(verdict) == ([] if safe else ["SR-TLS-001"])


def _judge_at_noon(name: str, value: str) -> Verdict:
    from datetime import datetime, timezone

    request = Request(VARIABLE, name, value, "environment", explicit=False)
    return review(
        [request], ray_version="2.60.0", now=datetime(2026, 11, 22, 12, tzinfo=timezone.utc)
    )


@pytest.mark.parametrize(
    ("kind", "name", "rule"),
    [
        (FLAG, "--unheard-of", "SR-RAY-001"),
        (ARGUMENT, "unheard_of", "SR-RAY-003"),
        (ARGUMENT, "_unheard_of", "SR-RAY-003"),
        (KEY, "unheard_of", "SR-RAY-004"),
    ],
)
def test_the_unknown_is_refused_unless_allowed(
    judge: Judge, kind: Kind, name: str, rule: str
) -> None:
    assert rules(judge(kind, name, "hunter2")) == [rule]
    assert "hunter2" not in judge(kind, name, "hunter2").refusals[0].subject

    allowed = judge(kind, name, "x", allow_flags=frozenset({"--unheard-of"}))

    assert [request.name for request in allowed.passed] == [name]


def test_an_unknown_field_of_a_runtime_environment_is_refused_unless_allowed(judge: Judge) -> None:
    given: tuple[Any, ...] = (ARGUMENT, "runtime_env", {"unheard_of": 1})

    assert rules(judge(*given)) == ["SR-RAY-003"]
    assert judge(*given, allow_flags=frozenset({"--unheard-of"})).passed


def test_allow_flags_does_not_reach_what_the_table_knows(judge: Judge) -> None:
    verdict = judge(
        FLAG, "--dashboard-host", "0.0.0.0", allow_flags=frozenset({"--dashboard-host"})
    )

    assert rules(verdict) == ["SR-NET-002"]


@pytest.mark.parametrize("name", ["RAY_UNHEARD_OF", "__RAY_UNHEARD_OF"])
@pytest.mark.parametrize("explicit", [True, False])
def test_an_unknown_variable_for_ray_is_named_and_not_passed_on(
    judge: Judge, name: str, *, explicit: bool
) -> None:
    verdict = judge(VARIABLE, name, "1", explicit=explicit)

    assert [request.name for request in verdict.unknown] == [name]
    assert not verdict.passed
    assert not verdict.refusals


def test_an_inherited_variable_of_somebody_else_is_not_mentioned(judge: Judge) -> None:
    assert judge(VARIABLE, "EDITOR", "vi", explicit=False) == Verdict()


def test_our_own_settings_in_the_environment_are_not_mentioned(judge: Judge) -> None:
    assert judge(VARIABLE, "SECURE_RAY_HOME", "/x", explicit=False) == Verdict()
    assert rules(judge(VARIABLE, "SECURE_RAY_INSTANCE", "x")) == ["SR-RAY-002"]


def test_a_knob_that_this_ray_does_not_have_is_unknown(judge: Judge) -> None:
    name = "RAY_SANDBOX_IGNORE_CGROUPS"

    assert rules(judge(VARIABLE, name, "1", ray_version="2.60.0")) == ["SR-LIMIT-020"]
    assert judge(VARIABLE, name, "1", ray_version="2.56.0").unknown


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [
        (FLAG, "--system-config", "{"),
        (FLAG, "--system-config", "[]"),
        (FLAG, "--system-config", True),
        (FLAG, "--system-config", "[" * 100_000),
        (ARGUMENT, "_system_config", '{"AUTH_MODE": "disabled"}'),
        (ARGUMENT, "_system_config", {1: "x"}),
        (ARGUMENT, "runtime_env", "{}"),
        (ARGUMENT, "runtime_env", {"env_vars": ["RAY_AUTH_MODE"]}),
        (ARGUMENT, "runtime_env", {"config": object()}),
    ],
    ids=str,
)
def test_what_cannot_be_read_is_refused(judge: Judge, kind: Kind, name: str, value: object) -> None:
    assert rules(judge(kind, name, value)) == ["SR-RAY-005"]


def test_every_key_of_a_system_config_is_judged(judge: Judge) -> None:
    verdict = judge(FLAG, "--system-config", '{"AUTH_MODE": "x", "task_oom_retries": 1, "y": 2}')

    assert rules(verdict) == ["SR-AUTH-001", "SR-RAY-004"]
    assert not verdict.passed


def test_an_override_lets_one_rule_be_broken_and_is_reported(
    judge: Judge, override: object
) -> None:
    verdict = judge(
        VARIABLE, "RAY_SERVE_DEFAULT_HTTP_HOST", "10.0.0.5", overrides={"SR-NET-006": override}
    )

    assert not verdict.refusals
    assert [request.value for request in verdict.passed] == ["10.0.0.5"]
    assert [(entry.rule, entry.override) for entry in verdict.overridden] == [
        ("SR-NET-006", override)
    ]


def test_an_override_reaches_inside_a_runtime_environment(judge: Judge, override: object) -> None:
    value = {"py_executable": "x", "env_vars": {"PYTHONPATH": "/x"}}
    verdict = judge(
        ARGUMENT,
        "runtime_env",
        value,
        overrides={"SR-CODE-006": override, "SR-CODE-002": override},
    )

    assert not verdict.refusals
    assert [entry.rule for entry in verdict.overridden] == ["SR-CODE-006", "SR-CODE-002"]


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "", "*", "::ffff:0.0.0.0"])
def test_the_wildcard_has_no_override(judge: Judge, override: object, address: str) -> None:
    verdict = judge(
        VARIABLE, "RAY_SERVE_DEFAULT_HTTP_HOST", address, overrides={"SR-NET-006": override}
    )

    assert rules(verdict) == ["SR-NET-001"]
    assert not verdict.passed


def test_an_override_that_has_ended_is_refused_and_helps_nothing(
    judge: Judge, expired: object
) -> None:
    verdict = judge(
        VARIABLE, "RAY_SERVE_DEFAULT_HTTP_HOST", "10.0.0.5", overrides={"SR-NET-006": expired}
    )

    assert rules(verdict) == ["SR-RAY-006", "SR-NET-006"]


@pytest.mark.parametrize(
    "rule",
    sorted(entry.id for entry in RULES.values() if not entry.overridable),
)
def test_a_rule_without_override_cannot_be_overridden(
    judge: Judge, override: object, rule: str
) -> None:
    assert rules(judge(FLAG, "--labels", "a=b", overrides={rule: override})) == ["SR-RAY-007"]


def test_authentication_stays_refused_under_an_override(judge: Judge, override: object) -> None:
    verdict = judge(VARIABLE, "RAY_AUTH_MODE", "disabled", overrides={"SR-AUTH-001": override})

    assert rules(verdict) == ["SR-RAY-007", "SR-AUTH-001"]


@pytest.mark.parametrize("area", ["SR-AUTH-", "SR-TLS-", "SR-NET-001", "SR-NET-003"])
def test_authentication_tls_and_the_wildcard_have_no_override(area: str) -> None:
    found = [entry for entry in RULES.values() if entry.id.startswith(area)]

    assert found
    assert not [entry.id for entry in found if entry.overridable]


def test_a_misspelt_override_is_refused(judge: Judge, override: object) -> None:
    verdict = judge(FLAG, "--labels", "a=b", overrides={"SR-NET-999": override})

    assert rules(verdict) == ["SR-RAY-008"]


def test_an_override_for_an_advisory_is_left_to_the_judge_of_versions(
    judge: Judge, expired: object
) -> None:
    assert not judge(FLAG, "--labels", "a=b", overrides={"CVE-2026-57516": expired}).refusals


def test_our_own_path_coming_back_is_not_refused(judge: Judge) -> None:
    pins = {"RAY_TLS_CA_CERT": "/ours/ca.crt"}

    assert judge(VARIABLE, "RAY_TLS_CA_CERT", "/ours/ca.crt", pins=pins).pinned
    assert rules(judge(VARIABLE, "RAY_TLS_CA_CERT", "/x", pins=pins)) == ["SR-TLS-002"]
    assert judge(VARIABLE, "RAY_TLS_CA_CERT", "/x", pins=pins, explicit=False).scrubbed


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [
        (FLAG, "--redis-password", "hunter2"),
        (ARGUMENT, "_redis_password", "hunter2"),
        (VARIABLE, "RAY_AUTH_TOKEN", "hunter2"),
        (VARIABLE, "RAY_REDIS_ADDRESS", "redis://:hunter2@store"),
        (VARIABLE, "RAY_REDIS_ADDRESS", "ray:hunter2@store:6379"),
        (VARIABLE, "RAY_DASHBOARD_AGGREGATOR_AGENT_EVENTS_EXPORT_ADDR", "http://u:hunter2@x"),
        (VARIABLE, "HTTPS_PROXY", "http://u:hunter2@x"),
        (ARGUMENT, "runtime_env", {"env_vars": {"RAY_AUTH_TOKEN": "hunter2"}}),
        (ARGUMENT, "runtime_env", {"env_vars": {"RAY_UNHEARD_OF": "hunter2"}}),
    ],
)
def test_no_secret_shows_in_a_refusal(judge: Judge, kind: Kind, name: str, value: object) -> None:
    verdict = judge(kind, name, value)

    assert verdict.refusals
    assert "hunter2" not in repr(verdict)


def test_a_request_does_not_show_its_value() -> None:
    assert "hunter2" not in repr(Request(VARIABLE, "X", "hunter2", "here"))


def test_a_refusal_names_what_where_why_and_how_to_mend_it(now: datetime) -> None:
    request = Request(FLAG, "--dashboard-host", "0.0.0.0", "flag --dashboard-host")

    verdict = review([request], ray_version="2.60.0", now=now)

    with pytest.raises(RefusedError) as caught:
        verdict.require_accepted()
    refusal = caught.value.refusals[0]
    assert refusal.subject == "the dashboard would listen on 0.0.0.0"
    assert refusal.source == "flag --dashboard-host"
    assert "plain HTTP" in refusal.why
    assert "drop the flag" in refusal.fix


def test_nothing_asked_is_accepted(now: datetime) -> None:
    review([], ray_version="2.60.0", now=now).require_accepted()
