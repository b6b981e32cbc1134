import json

import pytest

from secure_ray.base.errors import UsageError
from secure_ray.cli.explain import find_rule, render_rule
from secure_ray.cli.main import main
from secure_ray.policy.rules import RULES, Rule, Severity

RULE = Rule("SR-X-001", "a title", "a reason", "a way", overridable=True, severity=Severity.HIGH)


def test_a_rule_is_explained() -> None:
    text = render_rule(RULE)
    for part in ("SR-X-001 (high): a title", "why: a reason", "fix: a way", "[override] SR-X-001"):
        assert part in text


def test_a_rule_without_override_says_so() -> None:
    rule = Rule("SR-X-001", "t", "w", "f", overridable=False, severity=Severity.HIGH)
    assert "override: none" in render_rule(rule)


def test_case_does_not_matter() -> None:
    assert find_rule({"SR-X-001": RULE}, " sr-x-001") is RULE


def test_an_unknown_rule_is_answered_with_the_nearest() -> None:
    with pytest.raises(UsageError) as caught:
        find_rule({"SR-X-001": RULE}, "SR-X-01")
    assert "SR-X-001" in caught.value.fix


@pytest.mark.parametrize("rule", sorted(RULES))
def test_every_rule_can_be_explained(rule: str) -> None:
    assert render_rule(find_rule(RULES, rule)).startswith(f"{rule} (")


def test_one_rule_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    rule = next(iter(RULES))
    assert main(["explain", rule]) == 0
    assert capsys.readouterr().out.startswith(f"{rule} (")


def test_all_rules_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == list(RULES)


def test_a_program_reads_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert listed["schema"] == "secure-ray/explain/1"
    assert [entry["id"] for entry in listed["rules"]] == list(RULES)
