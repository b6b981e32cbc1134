"""Whether what runs is what is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from secure_ray.node.already import differences
from support.plans import HEAD, WORKER, decision_of, plan_of, private_plan, resolved

if TYPE_CHECKING:
    from pathlib import Path

    from secure_ray.node.decide import Decision


def asked(toml: str = "", **more: object) -> Decision:
    return decision_of(toml, origin=resolved(toml).origin, **more)


@pytest.mark.parametrize(
    ("toml", "key"),
    [
        ("[limits]\nnum_cpus = 3", "limits.num_cpus"),
        ("[limits]\nmemory = '1GiB'", "limits.memory"),
        ("[limits]\nobject_store_memory = '100MiB'", "limits.object_store_memory"),
        ("[limits]\nresource_isolation = 'off'", "limits.resource_isolation"),
        ("[limits.resources]\nslots = 2", "limits.resources"),
        ("[logging]\nlevel = 'debug'", "logging.level"),
        ("[logging]\nformat = 'json'", "logging.format"),
        ("[dashboard]\nenabled = false", "dashboard.enabled"),
        ("[metrics]\nenabled = true", "metrics.enabled"),
        ("[ports]\ndashboard = 30000", "ports.dashboard"),
        ("[ports]\nbase = 30720", "ports.base"),
        ("[ports]\nworkers = '40000-40100'", "ports.workers"),
    ],
)
def test_what_was_asked_for_and_does_not_run_is_named(home: Path, toml: str, key: str) -> None:
    (difference,) = differences(asked(toml), plan_of(home))

    assert difference.startswith(f"{key} is ")
    assert "asked for is" in difference


def test_same_settings_are_no_difference(home: Path) -> None:
    toml = "[limits]\nnum_cpus = 3\n[logging]\nlevel = 'debug'\n[ports]\ndashboard = 30000"

    assert differences(asked(toml), plan_of(home, toml)) == ()


def test_defaults_are_no_wish(home: Path) -> None:
    """Memory that is free has changed since the start, and nobody has asked for any."""
    running = plan_of(home, "[limits]\nmemory = '1GiB'\n[metrics]\nenabled = true")

    assert differences(asked(), running) == ()
    assert differences(asked(), private_plan(home, place=HEAD)) == ()


def test_other_address_is_named(home: Path) -> None:
    wish = asked("[network]\nbind = 'private'", address="10.77.0.1")

    (difference,) = differences(wish, plan_of(home))

    assert difference == "network.bind is 127.0.0.1, asked for is 10.77.0.1 (file test)"
    assert differences(wish, private_plan(home, place=HEAD)) == ()


def test_worker_is_not_asked_for_what_its_head_decides(home: Path) -> None:
    wish = asked("[dashboard]\nenabled = false\n[ports]\nbase = 30720")

    assert differences(wish, private_plan(home, place=WORKER)) == ()


def test_option_and_variable_that_are_missing_are_named(home: Path) -> None:
    wish = asked(ray_options=("--labels=a=b",), variables={"HF_HOME": "/x"})

    assert differences(wish, plan_of(home)) == (
        "--labels=a=b was not given",
        "HF_HOME is not set (environment.set)",
    )
    running = plan_of(home, ray_options=("--labels=a=b",), variables={"HF_HOME": "/x"})
    assert differences(wish, running.shown()) == ()
