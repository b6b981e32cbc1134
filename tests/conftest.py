"""What all tests share."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from support.clusters import Machine

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

_NO_SKIP = "TEST_NO_SKIP"


@pytest.fixture(autouse=True)
def plain_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever runs the tests may have settings of secure-ray or Ray exported; no test sees them."""
    for name in os.environ:
        if name.startswith(("SECURE_RAY_", "RAY_")):
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def short_parent() -> Iterator[Path]:
    """Stands in for /tmp as the place of run directories, which outlive what made them."""
    directory = Path(tempfile.mkdtemp(prefix="srt-"))
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(autouse=True)
def no_litter(short_parent: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("secure_ray.node.cluster._SHORT_PARENT", short_parent)


@pytest.fixture
def home() -> Iterator[Path]:
    """A private directory with a short path, under which sockets fit."""
    directory = Path(tempfile.mkdtemp(prefix="srt-"))
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def machine(home: Path) -> Iterator[Machine]:
    """A user's machine without any cluster; what the test starts is stopped."""
    machine = Machine(home)
    yield machine
    machine.clean()


@pytest.fixture(scope="session")
def running() -> Iterator[Machine]:
    """A machine with one running cluster, shared by all tests that leave it as it is."""
    directory = Path(tempfile.mkdtemp(prefix="srt-"))
    machine = Machine(directory)
    try:
        machine.up()
        yield machine
    finally:
        machine.clean()
        shutil.rmtree(directory, ignore_errors=True)


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("root") and os.geteuid() != 0:
        pytest.skip("needs root")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,  # noqa: ARG001  # pytest's signature
    call: pytest.CallInfo[None],  # noqa: ARG001
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Where CI installs every tool, a skipped test is a failed one."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and os.environ.get(_NO_SKIP):
        report.outcome = "failed"
        report.longrepr = f"skipped, which {_NO_SKIP} forbids: {report.longrepr}"
    return report
