"""Where a cluster's files are: names, the state directory, the length of socket paths."""

from __future__ import annotations

import os
import re
import shutil
import socket
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secure_ray.base.errors import UsageError
from secure_ray.node.paths import (
    LONGEST_RUN_DIRECTORY,
    ClusterPaths,
    RunPaths,
    cluster_paths,
    fits_sockets,
    state_home,
)

HOME = {"SECURE_RAY_HOME": "/state"}
_LONGEST_NAME = "session_2026-11-22_16-46-11_701505_4194304"


@pytest.mark.parametrize("name", ["a", "0", "team-a", "a" * 32, "a--b"])
def test_name_is_taken(name: str) -> None:
    assert cluster_paths(HOME, name) == ClusterPaths(Path("/state"), name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "A",
        "-a",
        "a-",
        "a" * 33,
        "a_b",
        "a.b",
        "..",
        "../x",
        "/etc",
        "a/b",
        "a b",
        "a\n",
        "a\0",
        "ä",
        "\N{ARABIC-INDIC DIGIT ONE}",
    ],
    ids=repr,
)
def test_name_is_refused(name: str) -> None:
    with pytest.raises(UsageError) as caught:
        cluster_paths(HOME, name)

    assert caught.value.code == "SR-CFG-011"


@given(st.text(alphabet="ab09-AZ_./ ~\n\0\u00e4"))
def test_no_name_leads_out_of_the_clusters(name: str) -> None:
    try:
        paths = cluster_paths(HOME, name)
    except UsageError:
        return
    assert re.fullmatch(r"/state/clusters/[a-z0-9-]{1,32}", os.path.normpath(paths.directory))


@pytest.mark.parametrize(
    ("environ", "name", "expected"),
    [
        ({}, None, "default"),
        ({"SECURE_RAY_CLUSTER": ""}, None, "default"),
        ({"SECURE_RAY_CLUSTER": "b"}, None, "b"),
        ({"SECURE_RAY_CLUSTER": "b"}, "c", "c"),
    ],
)
def test_option_comes_before_variable_before_default(
    environ: dict[str, str], name: str | None, expected: str
) -> None:
    assert cluster_paths(HOME | environ, name).name == expected


def test_empty_option_is_not_the_default_cluster() -> None:
    """`secure-ray down --cluster "$UNSET"` must stop nothing."""
    with pytest.raises(UsageError):
        cluster_paths(HOME | {"SECURE_RAY_CLUSTER": "b"}, "")


@pytest.mark.parametrize("chosen", ["", "relative", "./x", "~/x"])
def test_relative_state_directory_is_refused(chosen: str) -> None:
    with pytest.raises(UsageError) as caught:
        state_home({"SECURE_RAY_HOME": chosen})

    assert caught.value.code == "SR-CFG-010"


def test_state_directory_is_the_platforms(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)

    found = state_home({})

    assert found.is_relative_to(tmp_path)
    assert found.name == "secure-ray"


@pytest.mark.parametrize("variable", ["SECURE_RAY_HOME", "HOME"])
def test_state_directory_that_is_not_utf8_is_refused(
    monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    monkeypatch.setenv(variable, "/home/x\udcff")

    with pytest.raises(UsageError) as caught:
        state_home(os.environ)

    assert caught.value.code == "SR-CFG-025"
    assert str(caught.value).isascii()


def test_state_directory_without_a_home_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platformdirs.user_state_dir", lambda *_, **__: "~/x")

    with pytest.raises(UsageError) as caught:
        state_home({})

    assert caught.value.code == "SR-CFG-010"


def test_files_of_a_cluster() -> None:
    paths = ClusterPaths(Path("/state"), "a")

    assert {
        name: str(getattr(paths, name).relative_to("/state"))
        for name in dir(ClusterPaths)
        if isinstance(getattr(ClusterPaths, name), property)
    } == {
        "directory": "clusters/a",
        "identity": "clusters/a/cluster.json",
        "instance": "clusters/a/instance.json",
        "lock": "clusters/a/lock",
        "log": "clusters/a/supervisor.log",
        "neighbours": "clusters/a/neighbours.json",
        "walled": "clusters/a/walled.json",
        # Not among the keys that it opens.
        "passphrase": "passphrases/a",
        "pki": "clusters/a/pki",
        "spill": "clusters/a/spill",
        "spilled": "clusters/a/spill/ray",
        "store": "clusters/a/store",
        "supervisor_lock": "clusters/a/supervisor.lock",
        "token": "clusters/a/token",
    }


@pytest.mark.parametrize(
    ("directory", "fits"),
    [
        ("/" + "a" * (LONGEST_RUN_DIRECTORY - 1), True),
        ("/" + "a" * LONGEST_RUN_DIRECTORY, False),
        ("/a b", False),
        ("/ä", False),
    ],
    ids=["longest", "too long", "space", "not ASCII"],
)
def test_run_directory_has_to_be_short_and_plain(directory: str, *, fits: bool) -> None:
    assert fits_sockets(Path(directory)) == fits


def test_longest_socket_of_ray_can_be_bound_in_the_longest_run_directory() -> None:
    with tempfile.TemporaryDirectory(prefix="s", dir="/tmp") as parent:
        run = RunPaths(Path(parent.ljust(LONGEST_RUN_DIRECTORY, "x")))
        sockets = run.ray / _LONGEST_NAME / "sockets"
        sockets.mkdir(parents=True)
        try:
            with socket.socket(socket.AF_UNIX) as bound:
                bound.bind(str(sockets / "dash_MetricsHead.1"))
        finally:
            shutil.rmtree(run.directory)
