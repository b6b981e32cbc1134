"""The tables are whole, consistent, and know the Ray that is installed."""

from __future__ import annotations

import inspect
import subprocess
import sys
from collections import Counter

import pytest

from secure_ray.policy.knobs import Action, Kind, Knob, find_knob, knobs
from secure_ray.policy.ports import COMPONENTS
from secure_ray.policy.rules import RULES
from secure_ray.policy.values import NEVER

EVERY_KNOB = [knob for kind in Kind for knob in knobs(kind)]
IDS = [f"{knob.kind.name}-{knob.name}" for knob in EVERY_KNOB]


@pytest.mark.parametrize("knob", EVERY_KNOB, ids=IDS)
def test_a_row_is_whole(knob: Knob) -> None:
    assert knob.name
    assert knob.why
    if knob.action is Action.ALLOW:
        assert (knob.rule, knob.unsafe, knob.fix) == ("", NEVER, "")
    else:
        assert knob.rule in RULES
        assert knob.fix
    assert knob.action is Action.PIN or knob.pinned is None
    assert knob.action is not Action.SCRUB or knob.kind is Kind.VARIABLE
    assert knob.exists_in("2.60.0")


@pytest.mark.parametrize("kind", Kind)
def test_no_name_has_two_rows(kind: Kind) -> None:
    twice = [name for name, count in Counter(k.name for k in knobs(kind)).items() if count > 1]

    assert not twice


@pytest.mark.parametrize("component", COMPONENTS, ids=lambda component: component.name)
def test_every_port_is_ours_to_choose(component: object) -> None:
    flag, variable = getattr(component, "flag", ""), getattr(component, "variable", "")
    row = find_knob(Kind.FLAG, flag) if flag else find_knob(Kind.VARIABLE, variable)

    assert row is not None
    assert (row.action, row.rule) == (Action.PIN, "SR-RAY-002")


def test_an_exact_name_goes_before_a_pattern() -> None:
    exact = find_knob(Kind.SYSTEM_CONFIG, "TLS_CA_CERT")
    pattern = find_knob(Kind.SYSTEM_CONFIG, "TLS_OTHER")

    assert exact is not None
    assert not exact.is_glob
    assert pattern is not None
    assert pattern.is_glob


def test_a_key_without_a_row_is_the_variable_of_that_name() -> None:
    assert find_knob(Kind.SYSTEM_CONFIG, "USAGE_STATS_ENABLED") is find_knob(
        Kind.VARIABLE, "RAY_USAGE_STATS_ENABLED"
    )
    assert find_knob(Kind.SYSTEM_CONFIG, "unheard_of") is None


def test_names_are_case_sensitive_as_in_ray() -> None:
    assert find_knob(Kind.VARIABLE, "ray_auth_mode") is None
    assert find_knob(Kind.VARIABLE, "RAY_TESTING_X") is None


def test_the_tables_are_imported_when_they_are_needed() -> None:
    """So that `--help` and `explain` stay fast."""
    script = (
        "import sys; import secure_ray.policy.review, secure_ray.policy.rules;"
        "heavy = ('packaging', 'pydantic', 'ray', 'secure_ray.policy.tables.flags');"
        "print([name for name in heavy if name in sys.modules])"
    )

    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )

    assert done.stdout.strip() == "[]"


def test_every_argument_of_the_installed_ray_is_known() -> None:
    worker = pytest.importorskip("ray._private.worker")
    source = inspect.getsource(worker.init)
    named = set(inspect.signature(worker.init).parameters) - {"kwargs"}
    private = {
        name for name in _words(source) if name.startswith("_") and f'kwargs.pop("{name}"' in source
    }

    unknown = {name for name in named | private if find_knob(Kind.ARGUMENT, name) is None}

    assert named
    assert private
    assert not unknown


def test_every_field_of_the_installed_rays_runtime_environment_is_known() -> None:
    module = pytest.importorskip("ray.runtime_env.runtime_env")
    fields = module.RuntimeEnv.known_fields
    config = {f"config.{name}" for name in module.RuntimeEnvConfig.known_fields}

    unknown = {
        name for name in fields | config if not find_knob(Kind.ARGUMENT, f"runtime_env.{name}")
    }

    assert not unknown


def _words(source: str) -> set[str]:
    import re

    return set(re.findall(r'"(\w+)"', source))
