"""The advisories that come with the package, and the user's own files."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from secure_ray.base.errors import UsageError
from secure_ray.node.advisories import read_advisories

if TYPE_CHECKING:
    from pathlib import Path


def osv(name: str) -> dict[str, Any]:
    events = [{"introduced": "0"}, {"fixed": "99"}]
    return {
        "schema_version": "1.7.0",
        "id": name,
        "modified": "2026-11-01T00:00:00Z",
        "summary": "a summary",
        "affected": [
            {
                "package": {"ecosystem": "PyPI", "name": "ray"},
                "ranges": [{"type": "ECOSYSTEM", "events": events}],
            }
        ],
    }


def write(path: Path, document: object) -> str:
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    path.chmod(0o600)
    return str(path)


def test_packaged_advisories_can_be_read() -> None:
    book = read_advisories(())

    assert {"ray", "aiohttp"} <= {advisory.package for advisory in book.advisories}


@pytest.mark.parametrize("several", [False, True])
def test_users_files_are_merged_in(tmp_path: Path, *, several: bool) -> None:
    name = "CVE-2099-00001"
    document = [osv(name), osv("CVE-2099-00002")] if several else osv(name)

    book = read_advisories([write(tmp_path / "x.json", document)])

    found = [advisory.id for advisory in book.advisories if advisory.id.startswith("CVE-2099")]
    assert found == [name, "CVE-2099-00002"][: 2 if several else 1]
    assert len(book.advisories) == len(read_advisories(()).advisories) + len(found)


@pytest.mark.parametrize("text", ["", "{", "\x00"], ids=repr)
def test_file_that_is_no_json_is_an_error(tmp_path: Path, text: str) -> None:
    with pytest.raises(UsageError) as caught:
        read_advisories([write(tmp_path / "x.json", text)])

    assert caught.value.code == "SR-VER-006"


@pytest.mark.parametrize("document", [3, [3], "text", None], ids=repr)
def test_json_that_is_no_advisory_is_an_error(tmp_path: Path, document: object) -> None:
    with pytest.raises(UsageError):
        read_advisories([write(tmp_path / "x.json", json.dumps(document))])


def test_file_that_others_may_write_is_not_believed(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    write(path, osv("CVE-2099-00001"))
    path.chmod(0o666)

    with pytest.raises(UsageError) as caught:
        read_advisories([str(path)])

    assert caught.value.code == "SR-CFG-005"
