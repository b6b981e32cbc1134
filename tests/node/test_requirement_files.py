"""Files that a runtime environment names are judged by what is in them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from secure_ray.node import requirement_files as module
from secure_ray.node.requirement_files import with_files_read
from secure_ray.node.session import _requests
from secure_ray.policy.review import review
from support.plans import NOW

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def here(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(home)


def refused(runtime_env: Any) -> list[str]:
    verdict = review(_requests({"runtime_env": runtime_env}), ray_version="2.60.0", now=NOW)
    return [refusal.rule for refusal in verdict.refusals]


@pytest.mark.parametrize("field", ["pip", "uv"])
@pytest.mark.parametrize(
    ("text", "unsafe"),
    [
        ("# plain\nnumpy==2.0\n\nscipy>=1 \\\n  ; python_version > '3.9'\n", False),
        ("--index-url http://evil\nnumpy\n", True),
        ("numpy\n  -i https://other\n", True),
        ("x @ http://evil/x.whl\n", True),
        ("numpy \\\n--trusted-host=evil\n-r more.txt\n", True),
        ("", True),
    ],
)
def test_requirements_are_judged_line_by_line(
    home: Path, field: str, text: str, *, unsafe: bool
) -> None:
    (home / "reqs.txt").write_text(text)

    assert refused({field: "reqs.txt"}) == (["SR-CODE-010"] if unsafe else [])
    assert refused({field: str(home / "reqs.txt")}) == (["SR-CODE-010"] if unsafe else [])


@pytest.mark.parametrize(
    ("text", "unsafe"),
    [
        ("dependencies:\n  - numpy\n  - pip:\n      - scipy\n", False),
        ("dependencies:\n  - pip:\n      - --index-url http://evil\n", True),
        ("channels:\n  - http://evil\ndependencies:\n  - numpy\n", True),
        ("dependencies: [numpy\n", True),
    ],
)
def test_conda_file_is_judged_by_what_is_in_it(home: Path, text: str, *, unsafe: bool) -> None:
    (home / "env.yml").write_text(text)

    assert refused({"conda": "env.yml"}) == (["SR-CODE-010"] if unsafe else [])


def test_name_of_a_conda_environment_is_no_file() -> None:
    assert refused({"conda": "my-env"}) == []


@pytest.mark.parametrize("kind", ["missing", "directory", "large", "binary"])
@pytest.mark.parametrize("field", ["pip", "uv", "conda"])
def test_what_cannot_be_read_is_refused(
    home: Path, monkeypatch: pytest.MonkeyPatch, field: str, kind: str
) -> None:
    path = home / "env.yml"
    monkeypatch.setattr(module, "_MAX_BYTES", 4)
    if kind == "directory":
        path.mkdir()
    elif kind != "missing":
        path.write_bytes(b"numpy" if kind == "large" else b"\xff")

    assert refused({field: "env.yml"}) == ["SR-CODE-010"]


@pytest.mark.parametrize("value", [None, {}, {"pip": ["numpy"]}, {"pip": None, "conda": {}}, "x"])
def test_all_else_is_left_as_it_is(value: object) -> None:
    assert with_files_read(value) == value


@pytest.mark.parametrize(
    ("name", "value", "unsafe"),
    [
        ("PIP_INDEX_URL", "http://evil/simple", True),
        ("PIP_INDEX_URL", "https://mirror/simple", False),
        ("PIP_EXTRA_INDEX_URL", "https://a http://b", True),
        ("UV_INDEX_URL", "http://evil", True),
        ("UV_DEFAULT_INDEX", "http://evil", True),
        ("PIP_TRUSTED_HOST", "evil", True),
        ("UV_INSECURE_HOST", "evil", True),
        ("UV_INSECURE_HOST", "", False),
    ],
)
def test_variables_of_a_job_choose_no_plain_index(name: str, value: str, *, unsafe: bool) -> None:
    assert refused({"env_vars": {name: value}}) == (["SR-CODE-010"] if unsafe else [])
