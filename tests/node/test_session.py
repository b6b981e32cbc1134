"""`secure_init` up to the point where Ray comes in: what it starts, joins or refuses."""

from __future__ import annotations

import contextlib
import sys
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from secure_ray.base.errors import FailedError, RefusedError
from secure_ray.base.locks import lock
from secure_ray.network.guard.rules import LOCAL_RULES
from secure_ray.node import ray_process
from secure_ray.node import session as module
from secure_ray.node.environment import guard_rules
from secure_ray.node.ephemeral import Ephemeral
from secure_ray.node.instance import write_instance
from secure_ray.node.session import _inside_cluster, _ray_options, _split, secure_init
from secure_ray.policy.knobs import Action
from secure_ray.policy.tables.arguments import ARGUMENTS
from support.plans import BASE, GUARD, instance_of, make_directories, plan_of, private_plan

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from secure_ray.node.plan import LaunchPlan

MARKS = ("SECURE_RAY_CLUSTER", "SECURE_RAY_INSTANCE", "SECURE_RAY_CONFIG", "RAY_AUTH_MODE")


HARDENED = module._HARDENED | {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}


@pytest.fixture(autouse=True)
def home_of_the_test(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in MARKS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SECURE_RAY_HOME", str(home))
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(home)


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What Ray is asked for; nothing of it is run."""
    asked: list[dict[str, Any]] = []

    def init(**arguments: Any) -> str:
        asked.append(arguments)
        return "context"

    monkeypatch.setattr(ray_process, "is_initialized", lambda: False)
    monkeypatch.setattr(ray_process, "init", init)
    monkeypatch.setattr(ray_process, "after_shutdown", lambda _act: None)
    monkeypatch.setattr(ray_process, "begin_import", lambda: lambda: None)
    monkeypatch.setattr(ray_process, "harden", lambda *_: lambda: None)
    return asked


@contextmanager
def running(plan: LaunchPlan) -> Iterator[None]:
    """A record of a running cluster, and the lock that says so."""
    make_directories(plan)
    write_instance(instance_of(plan))
    with lock(plan.paths.supervisor_lock, wait=0):
        yield


@pytest.mark.parametrize(
    ("arguments", "settings", "rest"),
    [
        ({}, {}, {}),
        ({"num_cpus": 2, "namespace": "n"}, {"limits.num_cpus": 2}, {"namespace": "n"}),
        (
            {
                "num_gpus": 1,
                "resources": {"a": 1},
                "object_store_memory": 5,
                "_memory": 6,
                "include_dashboard": False,
                "dashboard_port": 9000,
            },
            {
                "limits.num_gpus": 1,
                "limits.resources": {"a": 1},
                "limits.object_store_memory": 5,
                "limits.memory": 6,
                "dashboard.enabled": False,
                "ports.dashboard": 9000,
            },
            {},
        ),
        ({"labels": {"a": "b"}}, {}, {}),
        ({"dashboard_host": "0.0.0.0"}, {}, {"dashboard_host": "0.0.0.0"}),
    ],
)
def test_arguments_that_size_a_cluster_become_settings(
    arguments: dict[str, Any], settings: dict[str, Any], rest: dict[str, Any]
) -> None:
    before = dict(arguments)

    found, remaining = _split(arguments)

    expected = settings | {"network.bind": "local"}
    assert {key: value for key, value in found.items() if value is not None} == expected
    assert remaining == rest
    assert arguments == before


@pytest.mark.parametrize(
    ("labels", "options"),
    [
        (None, ()),
        ({}, ()),
        ({"b": "2", "a": "1"}, ("--labels=a=1,b=2",)),
    ],
)
def test_labels_become_an_option(labels: dict[str, str] | None, options: tuple[str, ...]) -> None:
    assert _ray_options({"labels": labels}) == options
    assert _ray_options({}) == ()


# What `ray.init(address=...)` of Ray 2.60.0 refuses or ignores (_private/worker.py), so that it has
# to go another way; a value for each argument that policy allows.
HARMLESS: dict[str, Any] = {
    "num_cpus": 1,
    "num_gpus": 0,
    "resources": {"a": 1},
    "object_store_memory": 80 << 20,
    "_memory": 1 << 30,
    "_driver_object_store_memory": 1,
    "enable_resource_isolation": False,
    "system_reserved_cpu": 1.0,
    "system_reserved_memory": 1 << 30,
    "include_dashboard": True,
    "dashboard_port": 8265,
    "labels": {"a": "1"},
    "namespace": "n",
    "_node_name": "n",
    "ignore_reinit_error": True,
    "configure_logging": True,
    "logging_level": 20,
    "logging_format": "%(message)s",
    "logging_config": None,
    "log_to_driver": True,
    "_enable_object_reconstruction": True,
    "_system_config": {"max_io_workers": 2},
}
JOINS_WITH = {
    "_driver_object_store_memory",
    "namespace",
    "ignore_reinit_error",
    "configure_logging",
    "logging_level",
    "logging_format",
    "logging_config",
    "log_to_driver",
}


def test_every_allowed_argument_has_its_place() -> None:
    """Otherwise Ray raises after a whole cluster was started and proven."""
    allowed = {knob.name for knob in ARGUMENTS if knob.action is Action.ALLOW}

    assert allowed | {"_system_config"} == set(HARMLESS)


@pytest.mark.parametrize("argument", HARMLESS)
def test_what_ray_refuses_when_it_joins_goes_to_the_start(argument: str) -> None:
    arguments = {argument: HARMLESS[argument]}
    nothing, _ = _split({})

    settings, rest = _split(arguments)

    is_given = settings != nothing or bool(_ray_options(arguments))
    assert (set(rest), is_given) == (
        ({argument}, False) if argument in JOINS_WITH else (set(), True)
    )


def test_system_config_reaches_ray_as_policy_reads_it() -> None:
    options = _ray_options({"_system_config": {"max_io_workers": 2}, "_node_name": "n"})

    assert options == ("--node-name=n", '--system-config={"max_io_workers": 2}')


@pytest.mark.parametrize(
    ("environ", "inside"),
    [
        ({}, False),
        ({"SECURE_RAY_INSTANCE": "1", "RAY_AUTH_MODE": "token"}, True),
        ({"SECURE_RAY_INSTANCE": "1"}, False),
        ({"SECURE_RAY_INSTANCE": "1", "RAY_AUTH_MODE": "disabled"}, False),
        ({"SECURE_RAY_CLUSTER": "a", "RAY_AUTH_MODE": "token"}, False),
    ],
)
def test_whether_the_program_runs_inside_a_cluster(
    environ: dict[str, str], *, inside: bool
) -> None:
    assert _inside_cluster(environ) == inside


@pytest.mark.parametrize(
    ("address", "cluster", "environ", "way"),
    [
        (None, None, {}, "start"),
        ("local", None, {}, "start"),
        ("local", None, {"SECURE_RAY_CLUSTER": "a"}, "start"),
        ("auto", None, {}, "join"),
        (None, "a", {}, "join"),
        (None, None, {"SECURE_RAY_CLUSTER": "a"}, "join"),
        ("192.0.2.1:6379", None, {}, "join"),
        ("ray://192.0.2.1:10001", None, {}, "join"),
        (None, None, {"SECURE_RAY_INSTANCE": "1", "RAY_AUTH_MODE": "token"}, "join"),
    ],
)
def test_what_is_started_and_what_is_joined(
    ray: list[dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
    address: str | None,
    cluster: str | None,
    environ: dict[str, str],
    way: str,
) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    ways: list[str] = []
    monkeypatch.setattr(module, "_start", lambda *_: ways.append("start"))
    monkeypatch.setattr(module, "_join", lambda *_: ways.append("join"))

    secure_init(address, cluster=cluster)

    assert ways == [way]
    assert ray == []


def test_second_call_is_rays_own_affair(
    ray: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_process, "is_initialized", lambda: True)
    for name, value in HARDENED.items():
        monkeypatch.setenv(name, value)

    assert secure_init("auto", ignore_reinit_error=True) == "context"

    assert ray == [{"address": "auto", "ignore_reinit_error": True}]


@pytest.mark.parametrize("missing", ["RAY_AUTH_MODE", "RAY_USE_TLS"])
def test_ray_of_somebody_else_is_not_handed_out(
    ray: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    monkeypatch.setattr(ray_process, "is_initialized", lambda: True)
    for name, value in HARDENED.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv(missing)

    with pytest.raises(FailedError, match="SR-RAY-023"):
        secure_init(ignore_reinit_error=True)

    assert ray == []


@pytest.mark.parametrize("address", ["auto", None, f"127.0.0.1:{BASE}"])
def test_the_running_cluster_is_joined_at_its_own_address(
    ray: list[dict[str, Any]], home: Path, address: str | None
) -> None:
    with running(plan_of(home)):
        assert secure_init(address, cluster="default", namespace="n") == "context"

    assert ray == [{"address": f"127.0.0.1:{BASE}", "namespace": "n"}]


@pytest.mark.parametrize(
    "address", ["192.0.2.1:6379", "ray://127.0.0.1:10001", "127.0.0.1:1", "localhost:6379"]
)
def test_another_address_is_refused(ray: list[dict[str, Any]], home: Path, address: str) -> None:
    with running(plan_of(home)), pytest.raises(FailedError) as caught:
        secure_init(address)

    assert caught.value.code == "SR-RAY-020"
    assert ray == []


def test_private_driver_is_guarded_and_joins_through_its_own_node(
    ray: list[dict[str, Any]], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    guarded: list[object] = []
    monkeypatch.setattr(module, "inject", lambda *rules: guarded.append((*rules, list(ray))))
    plan = private_plan(home)

    with running(plan):
        secure_init("auto")

    rules = guard_rules(plan.place, plan.ports)
    assert guarded == [(plan.guard, rules, [])]  # before Ray opens a socket
    assert ray == [{"address": plan.control_store, "_node_ip_address": plan.place.address}]


def test_driver_of_one_host_goes_on_where_it_cannot_be_guarded(
    ray: list[dict[str, Any]], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own sockets are on loopback by Ray's switch."""
    tried: list[object] = []

    def fail(*rules: object) -> None:
        tried.append(rules)
        raise FailedError("SR-GUARD-005", "no", fix="")

    monkeypatch.setattr(module, "inject", fail)

    with running(replace(plan_of(home), guard=GUARD)):
        secure_init("auto")

    assert tried == [(GUARD, LOCAL_RULES)]
    assert len(ray) == 1


def test_program_that_cannot_be_guarded_does_not_join(
    ray: list[dict[str, Any]], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise FailedError("SR-GUARD-004", "no", fix="")

    monkeypatch.setattr(module, "inject", fail)

    with running(private_plan(home)), pytest.raises(FailedError, match="SR-GUARD-004"):
        secure_init("auto")

    assert ray == []


@pytest.mark.parametrize("source", ["environment", ".env"])
@pytest.mark.parametrize("name", ["RAY_AUTH_MODE", "RAY_USE_TLS"])
def test_what_contradicts_a_protection_is_refused(
    ray: list[dict[str, Any]], home: Path, monkeypatch: pytest.MonkeyPatch, source: str, name: str
) -> None:
    if source == ".env":
        (home / ".env").write_text(f"{name}=0\n")
    else:
        monkeypatch.setenv(name, "0")

    with running(plan_of(home)), pytest.raises(RefusedError) as caught:
        secure_init("auto")

    assert [refusal.source for refusal in caught.value.refusals] == [source]
    assert ray == []


def test_environment_that_secure_ray_has_made_is_not_judged(
    ray: list[dict[str, Any]], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job has all of the cluster's own variables, the ones that policy pins among them."""
    dropped: list[frozenset[str]] = []

    def harden(_environment: dict[str, str], taken_away: frozenset[str]) -> Any:
        dropped.append(taken_away)
        return lambda: None

    monkeypatch.setattr(ray_process, "harden", harden)
    plan = plan_of(home)
    for variable, value in plan.environment.items():
        monkeypatch.setenv(variable, value)

    with running(plan):
        secure_init()

    assert dropped == [frozenset()]
    assert len(ray) == 1


@pytest.mark.parametrize("way", ["_start", "_join"])
def test_shutdown_that_went_past_ours_is_finished_first(
    ray: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    steps: list[str] = []
    monkeypatch.setattr(ray_process, "finish_shutdown", lambda: steps.append("finish"))
    monkeypatch.setattr(module, way, lambda *_: steps.append(way))

    secure_init("auto" if way == "_join" else None)

    assert steps == ["finish", way]
    assert ray == []


@pytest.mark.parametrize("way", ["start", "join"])
def test_what_would_win_over_our_token_is_taken_away(
    ray: list[dict[str, Any]], home: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """Ray takes RAY_AUTH_TOKEN before the file that ours is in."""
    hardened: list[tuple[dict[str, str], frozenset[str]]] = []

    def harden(environment: dict[str, str], dropped: frozenset[str]) -> Any:
        hardened.append((environment, dropped))
        return lambda: None

    class Prepared:
        plan = plan_of(home)

    monkeypatch.setattr(ray_process, "harden", harden)
    monkeypatch.setattr("secure_ray.node.decide.judge_ray", lambda *_: ())
    monkeypatch.setattr("secure_ray.node.prepare.prepare", lambda *_, **__: Prepared)
    monkeypatch.setattr("secure_ray.node.bring_up.bring_up", lambda *_: None)
    monkeypatch.setattr("atexit.register", lambda *_: None)
    for name, value in {"RAY_AUTH_TOKEN": "f" * 64, "RAY_BRAND_NEW": "1", "MINE": "x"}.items():
        monkeypatch.setenv(name, value)

    with running(plan_of(home)):
        secure_init("auto" if way == "join" else None)

    ((environment, dropped),) = hardened
    assert dropped == {"RAY_AUTH_TOKEN", "RAY_BRAND_NEW"}
    assert environment["RAY_AUTH_TOKEN_PATH"] == str(plan_of(home).paths.token)
    assert len(ray) == 1


def test_no_cluster_to_join_is_told(ray: list[dict[str, Any]]) -> None:
    with pytest.raises(FailedError) as caught:
        secure_init("auto")

    assert caught.value.code == "SR-STATE-004"
    assert ray == []


@pytest.mark.parametrize("way", ["start", "join", "inside"])
@pytest.mark.parametrize(
    "arguments",
    [
        {"dashboard_host": "0.0.0.0"},
        {"_system_config": {"AUTH_MODE": "disabled"}},
        {"runtime_env": {"env_vars": {"RAY_AUTH_MODE": "disabled"}}},
        {"no_such_argument": 1},
    ],
    ids=lambda arguments: next(iter(arguments)),
)
def test_unsafe_arguments_are_refused_on_every_way(
    ray: list[dict[str, Any]],
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    way: str,
    arguments: dict[str, Any],
) -> None:
    if way == "inside":
        monkeypatch.setenv("SECURE_RAY_INSTANCE", "1")
        monkeypatch.setenv("RAY_AUTH_MODE", "token")
    # On a Ray that would need an override the refusal could be another.
    monkeypatch.setattr("secure_ray.node.decide.judge_ray", lambda *_: ())

    with running(plan_of(home)), pytest.raises(RefusedError) as caught:
        secure_init("auto" if way == "join" else None, **arguments)

    assert [refusal.source for refusal in caught.value.refusals] == [
        f"argument {next(iter(arguments))}"
    ]
    assert ray == []
    assert not (home / "ephemeral").exists()


def test_environment_is_put_back_when_ray_does_not_connect(
    ray: list[dict[str, Any]], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    restored: list[bool] = []
    monkeypatch.setattr(ray_process, "harden", lambda *_: lambda: restored.append(True))

    def fail(**_arguments: Any) -> None:
        raise ConnectionError

    monkeypatch.setattr(ray_process, "init", fail)

    with running(plan_of(home)), pytest.raises(ConnectionError):
        secure_init("auto")

    assert restored == [True]
    assert ray == []


@pytest.mark.parametrize("fails", [True, False])
def test_ray_is_imported_hardened_and_beside_the_start(
    ray: list[dict[str, Any]], home: Path, monkeypatch: pytest.MonkeyPatch, *, fails: bool
) -> None:
    steps: list[str] = []

    def harden(*_: object) -> Any:
        steps.append("harden")
        return lambda: steps.append("restore")

    def begin_import() -> Any:
        steps.append("import begins")
        return lambda: steps.append("imported")

    def start() -> None:
        steps.append("start")
        if fails:
            raise KeyboardInterrupt

    monkeypatch.setattr(ray_process, "harden", harden)
    monkeypatch.setattr(ray_process, "begin_import", begin_import)

    with contextlib.suppress(KeyboardInterrupt):
        module._connect(plan_of(home), {}, frozenset(), meanwhile=start)

    assert steps[:4] == ["harden", "import begins", "start", "imported"]
    assert steps[4:] == (["restore"] if fails else [])
    assert len(ray) == (not fails)


@pytest.mark.parametrize("fails", ["prepare", "bring_up", "connect", None])
def test_started_cluster_is_removed_whatever_fails(
    ray: list[dict[str, Any]], home: Path, monkeypatch: pytest.MonkeyPatch, fails: str | None
) -> None:
    def step(name: str, result: object = None) -> Any:
        def run(*_arguments: Any, **_options: Any) -> object:
            if fails == name:
                raise KeyboardInterrupt
            return result

        return run

    def end(ephemeral: Any) -> None:
        ends.append(ephemeral)

    class Prepared:
        plan = plan_of(home)

    ends: list[Any] = []
    monkeypatch.setattr("secure_ray.node.decide.judge_ray", lambda *_: ())
    monkeypatch.setattr("secure_ray.node.prepare.prepare", step("prepare", Prepared()))
    monkeypatch.setattr("secure_ray.node.bring_up.bring_up", step("bring_up"))
    monkeypatch.setattr(ray_process, "init", step("connect", "context"))
    monkeypatch.setattr("secure_ray.node.ephemeral.Ephemeral.end", end)
    monkeypatch.setattr("atexit.register", lambda *_: None)

    if fails is None:
        assert secure_init(num_cpus=1) == "context"
        assert ends == []
    else:
        with pytest.raises(KeyboardInterrupt):
            secure_init(num_cpus=1)
        assert len(ends) == 1
    assert ray == []


@pytest.mark.parametrize("connected", [True, False])
@pytest.mark.parametrize("forked", [True, False])
def test_driver_says_goodbye_before_its_cluster_ends(
    home: Path, monkeypatch: pytest.MonkeyPatch, *, connected: bool, forked: bool
) -> None:
    """Whatever was imported first: Ray's own exit handler may come after ours."""
    order: list[str] = []
    ray = SimpleNamespace(
        is_initialized=lambda: connected,
        shutdown=lambda **options: order.append(f"ray {options}"),
    )
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.setattr("secure_ray.node.ephemeral._remove", lambda _paths: order.append("cluster"))
    ephemeral = Ephemeral.make({"SECURE_RAY_HOME": str(home)})
    if forked:
        monkeypatch.setattr("os.getpid", lambda: 1)

    module._end_with_program(ephemeral)

    driver = ["ray {'_exiting_interpreter': True}"] if connected else []
    assert order == ([] if forked else [*driver, "cluster"])
