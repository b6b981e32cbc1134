"""The generated table is fresh, and the advisories can be brought up to date."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from types import ModuleType

ROOT = Path(__file__).resolve().parents[2]
OSV: dict[str, Any] = {
    "id": "GHSA-aaaa-bbbb-cccc",
    "aliases": ["CVE-2099-1"],
    "summary": "Something bad",
    "affected": [
        {
            "package": {"ecosystem": "PyPI", "name": "ray"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "3.0"}]}],
        }
    ],
}


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_docs_policy_md_is_fresh() -> None:
    assert script("policy_table").main(["--check"]) == 0


def test_a_stale_table_is_noticed_and_mended(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "policy.md"
    main = script("policy_table").main

    assert main(["--check"], target) == 1
    assert "stale" in capsys.readouterr().err
    assert main([], target) == 0
    assert main(["--check"], target) == 0
    target.write_text(target.read_text(encoding="utf-8") + "x", encoding="utf-8")
    assert main(["--check"], target) == 1


def test_an_osv_file_is_merged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "advisories.json"
    target.write_text('{"date": "2026-01-01", "advisories": []}', encoding="utf-8")
    source = tmp_path / "osv.json"
    source.write_text(json.dumps(OSV), encoding="utf-8")

    assert script("advisories_from_osv").main([str(source)], target) == 0

    written = json.loads(target.read_text(encoding="utf-8"))
    assert [entry["id"] for entry in written["advisories"]] == ["GHSA-aaaa-bbbb-cccc"]
    assert written["date"] > "2026-01-01"
    assert "1 entries" in capsys.readouterr().out


@pytest.mark.parametrize("content", ["{", "[]", '{"id": 1, "affected": [{}]}'])
def test_a_broken_osv_file_changes_nothing(
    tmp_path: Path, content: str, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "advisories.json"
    before = '{"date": "2026-01-01", "advisories": []}'
    target.write_text(before, encoding="utf-8")
    source = tmp_path / "osv.json"
    source.write_text(content, encoding="utf-8")

    assert script("advisories_from_osv").main([str(source)], target) == 2
    assert target.read_text(encoding="utf-8") == before
    assert "nothing was changed" in capsys.readouterr().err
