"""`secure-ray explain` knows every rule and every error code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from secure_ray.policy.rules import RULES, Rule, rule
from secure_ray.policy.rules_access import ACCESS_RULES
from secure_ray.policy.rules_data import DATA_RULES
from secure_ray.policy.rules_errors import ERRORS

SOURCE = Path(__file__).resolve().parents[2] / "src"
AREAS = {"NET", "AUTH", "TLS", "CODE", "DATA", "LOG", "RAY", "VER", "LIMIT"}


@pytest.mark.parametrize("entry", RULES.values(), ids=lambda entry: entry.id)
def test_a_rule_is_whole(entry: Rule) -> None:
    assert re.fullmatch(r"SR-[A-Z]+-\d{3}", entry.id)
    assert entry.title[0].islower() or entry.title.startswith(("Ray", "DNS", "Redis"))
    assert not entry.title.endswith(".")
    assert entry.why.endswith(".")
    assert entry.fix
    assert rule(entry.id.lower()) is entry


def test_no_id_is_used_twice() -> None:
    assert len(RULES) == len(ACCESS_RULES) + len(DATA_RULES) + len(ERRORS)


def test_the_policys_rules_are_in_its_areas() -> None:
    assert {entry.id.split("-")[1] for entry in ACCESS_RULES + DATA_RULES} == AREAS


def test_an_unknown_rule_is_said_to_be_unknown() -> None:
    with pytest.raises(KeyError):
        rule("SR-NET-999")


def test_every_code_in_the_source_can_be_explained() -> None:
    used: dict[str, set[str]] = {}
    for file in SOURCE.rglob("*.py"):
        for code in re.findall(r'"(SR-[A-Z]+-\d{3})"', file.read_text(encoding="utf-8")):
            used.setdefault(code, set()).add(str(file.relative_to(SOURCE)))

    missing = {code: sorted(files) for code, files in sorted(used.items()) if code not in RULES}

    assert not missing, "\n".join(f"{code}: {files}" for code, files in missing.items())
