"""`secure-ray explain` knows every rule and every error code, and no others."""

from __future__ import annotations

import importlib.util
import re
from collections import Counter, defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from secure_ray.audit.run import CHECKS, PRIVATE_CHECKS
from secure_ray.policy import rules
from secure_ray.policy.rules import RULES, Rule, Severity, rule

if TYPE_CHECKING:
    from types import ModuleType

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src"
CATALOGUE = sorted((SOURCE / "secure_ray" / "policy").glob("rules*.py"))
CODE = re.compile(r'"(SR-[A-Z]+-\d{3})"')


def codes_in(file: Path) -> set[str]:
    return set(CODE.findall(file.read_text(encoding="utf-8")))


USED = {
    code: file.relative_to(SOURCE)
    for file in SOURCE.rglob("*.py")
    if file not in CATALOGUE
    for code in codes_in(file)
}


@pytest.mark.parametrize("entry", RULES.values(), ids=lambda entry: entry.id)
def test_an_entry_is_whole(entry: Rule) -> None:
    assert re.fullmatch(r"SR-[A-Z]+-\d{3}", entry.id)
    assert not entry.title[0].isupper() or entry.title.startswith(("Ray", "HTTP", "RAY_", "SECURE"))
    assert not entry.title.endswith(".")
    assert entry.why.endswith(".")
    assert entry.fix
    assert rule(entry.id.lower()) is entry


def test_no_id_is_used_twice() -> None:
    counted = Counter(entry.id for entry in rules._entries())
    assert [code for code, times in counted.items() if times > 1] == []


def test_an_area_stands_in_one_file() -> None:
    files: dict[str, set[str]] = defaultdict(set)
    for file in CATALOGUE:
        for code in codes_in(file):
            files[rule(code).area].add(file.name)

    assert {area: names for area, names in files.items() if len(names) > 1} == {}


def test_every_file_of_the_catalogue_is_read() -> None:
    assert set().union(*map(codes_in, CATALOGUE)) == set(RULES)


def test_an_unknown_rule_is_said_to_be_unknown() -> None:
    with pytest.raises(KeyError):
        rule("SR-NET-999")


def test_every_code_in_the_source_can_be_explained() -> None:
    missing = {code: str(file) for code, file in USED.items() if code not in RULES}
    assert missing == {}


def test_every_code_that_can_be_explained_is_in_the_source() -> None:
    assert sorted(RULES.keys() - USED.keys()) == []


def test_an_error_has_no_override() -> None:
    errors = [entry for entry in RULES.values() if entry.severity is Severity.ERROR]
    assert errors
    assert [entry.id for entry in errors if entry.overridable] == []


@pytest.mark.parametrize(
    ("number", "overridable"),
    [(1, True), (2, True), (3, True), (4, False), (5, True), (6, False)],
)
def test_limits_that_ray_can_start_with_can_be_overridden(number: int, overridable: bool) -> None:  # noqa: FBT001
    assert RULES[f"SR-LIMIT-{number:03}"].overridable is overridable


def test_the_audit_and_its_explanation_agree_how_bad_it_is() -> None:
    checks = (*CHECKS, *PRIVATE_CHECKS)
    proven = {rule.code: str(rule.severity) for check in checks for rule in check.rules}
    assert {code: RULES[code].severity.value for code in proven} == proven


def script() -> ModuleType:
    path = ROOT / "scripts" / "policy_table.py"
    spec = importlib.util.spec_from_file_location("policy_table", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_each_code_stands_in_one_of_the_generated_pages() -> None:
    pages = [page() for page in script().PAGES.values()]
    counted = {code: sum(page.count(f"\n| {code} |") for page in pages) for code in RULES}
    assert {code: times for code, times in counted.items() if times != 1} == {}


@pytest.mark.parametrize("page", ["policy.md", "errors.md", "ports.md"])
def test_a_stale_page_is_named(
    page: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main = script().main
    main([], tmp_path / "policy.md")
    with (tmp_path / page).open("a", encoding="utf-8") as file:
        file.write("x")

    assert main(["--check"], tmp_path / "policy.md") == 1
    assert page in capsys.readouterr().err
