"""The package as it is installed: whole, light to import, and with what it needs declared."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import secure_ray

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src"
HEAVY = {"asyncio", "cryptography", "jinja2", "msgspec", "psutil", "pydantic", "ray", "rich"}


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_wheel_has_every_package(project: dict[str, Any]) -> None:
    directories = {path.parent for path in SOURCE.rglob("*.py")}
    found = {".".join(directory.relative_to(SOURCE).parts) for directory in directories}

    listed = set(project["tool"]["setuptools"]["packages"])

    assert listed == found | {"secure_ray._templates"}


def test_every_package_says_what_it_is() -> None:
    directories = {path.parent for path in SOURCE.rglob("*.py")}

    assert [str(path) for path in directories if not (path / "__init__.py").is_file()] == []


def test_wheel_has_every_file_that_is_no_module(project: dict[str, Any]) -> None:
    data = project["tool"]["setuptools"]["package-data"]
    roots = {"secure_ray._templates": ROOT / "templates"}
    covered = {
        path
        for package, patterns in data.items()
        for pattern in patterns
        for path in roots.get(package, SOURCE / package.replace(".", "/")).glob(pattern)
    }
    files = {
        path
        for parent in (SOURCE / "secure_ray", ROOT / "templates")
        for path in parent.rglob("*")
        if path.is_file()
        and path.suffix not in {".py", ".pyc", ".so"}  # setuptools puts built ones in
    }

    assert files <= covered


def imported(path: Path) -> Iterator[str]:
    """The top-level names of what a module imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.partition(".")[0]


def test_every_import_is_declared_and_nothing_else_is(project: dict[str, Any]) -> None:
    names = {name for path in SOURCE.rglob("*.py") for name in imported(path)}
    foreign = names - set(sys.stdlib_module_names) - {"secure_ray", "__future__"}
    spelled = {"dotenv": "python-dotenv", "yaml": "pyyaml"}

    declared = {
        re.split(r"[^A-Za-z0-9-]", requirement)[0]
        for requirement in project["project"]["dependencies"]
    }

    assert {spelled.get(name, name) for name in foreign} == declared - {"tomli"} | (
        {"tomli"} & foreign
    )


def test_import_brings_in_nothing_heavy() -> None:
    script = "import secure_ray, sys; print(*sys.modules)"
    told = subprocess.check_output(
        [sys.executable, "-c", script], env={"PYTHONPATH": str(SOURCE)}, text=True
    )

    assert set(told.split()) & HEAVY == set()


def test_names_of_secure_init_bring_in_no_ray() -> None:
    script = "from secure_ray import secure_init, Settings; import sys; print(*sys.modules)"
    told = subprocess.check_output(
        [sys.executable, "-c", script], env={"PYTHONPATH": str(SOURCE)}, text=True
    )

    assert "ray" not in told.split()


def test_all_names_what_can_be_imported() -> None:
    assert secure_ray.__all__ == sorted(secure_ray.__all__)
    assert dir(secure_ray) == secure_ray.__all__
    for name in secure_ray.__all__:
        assert getattr(secure_ray, name).__name__ == name
    public = {name for name in vars(secure_ray) if not name.startswith("_")}
    inside = {"TYPE_CHECKING", "Any", "annotations"}
    packages = {path.name for path in (SOURCE / "secure_ray").iterdir() if path.is_dir()}
    assert public - inside - packages <= set(secure_ray.__all__)


def test_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        getattr(secure_ray, "no_such_name")  # noqa: B009  # mypy would see through the other way


def test_command_is_there(project: dict[str, Any]) -> None:
    module, _, function = project["project"]["scripts"]["secure-ray"].partition(":")

    assert callable(getattr(import_module(module), function))


def test_python_versions_agree(project: dict[str, Any]) -> None:
    assert project["project"]["requires-python"] == ">=3.10"
    assert project["tool"]["ruff"]["target-version"] == "py310"
    assert project["tool"]["mypy"]["python_version"] == "3.10"
