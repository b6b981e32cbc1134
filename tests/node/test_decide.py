"""One decision over everything that was asked for: all refusals at once, each with its source."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

import pytest

from secure_ray.base.errors import FailedError, RefusedError, UsageError
from secure_ray.node import decide as module
from secure_ray.node.decide import Decision, Wish, decide
from secure_ray.policy.advisories import Advisory, AdvisoryBook
from secure_ray.policy.bind import Candidate
from secure_ray.policy.knobs import Kind
from secure_ray.policy.request import Request
from secure_ray.policy.store import StoreKind
from support.plans import HOST, NOW, VERSIONS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

ADVISORY = Advisory(
    "CVE-2026-0001", ("GHSA-aaaa-bbbb-cccc",), "ray", "it is open", "high", "0", "2.56.0", "https://x"
)  # fmt: skip


@pytest.fixture(autouse=True)
def host(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host, packages and advisories that are the same everywhere."""
    monkeypatch.setattr(module, "read_host", lambda _environ: HOST)
    monkeypatch.setattr(module, "read_versions", lambda: dict(VERSIONS))
    book = AdvisoryBook(date(2026, 11, 1), (ADVISORY,))
    monkeypatch.setattr(module, "read_advisories", lambda _files: book)


@pytest.fixture
def work(tmp_path: Path) -> Path:
    return tmp_path


def judge(work: Path, wish: Wish | None = None, **environ: str) -> Decision:
    wish = wish or Wish()
    return decide(wish, environ={"HOME": str(work)} | environ, cwd=work, now=NOW)


def refused(work: Path, wish: Wish | None = None, **environ: str) -> dict[str, str]:
    """Rule by source."""
    with pytest.raises(RefusedError) as caught:
        judge(work, wish, **environ)
    return {refusal.source: refusal.rule for refusal in caught.value.refusals}


def settings(work: Path, text: str) -> Path:
    path = work / "secure-ray.toml"
    path.write_text(text)
    path.chmod(0o600)
    return path


def installed(monkeypatch: pytest.MonkeyPatch, versions: Mapping[str, str]) -> None:
    monkeypatch.setattr(module, "read_versions", lambda: dict(versions))


def test_defaults_are_allowed(work: Path) -> None:
    decision = judge(work)

    assert decision.limits.num_cpus == HOST.cpus
    assert decision.versions == VERSIONS
    assert (decision.ray_options, decision.variables, decision.notices) == ((), {}, ())


def test_flags_win_and_relevant_parts_are_handed_on(work: Path) -> None:
    settings(work, '[limits]\nnum_cpus = 2\n[environment]\nset = {MY_FLAG = "1"}\n')
    wish = Wish(flags={"limits.num_cpus": 3}, ray_options=("--labels", "team=a"))

    decision = judge(work, wish)

    assert decision.limits.num_cpus == 3
    assert decision.ray_options == ("--labels=team=a",)
    assert decision.variables == {"MY_FLAG": "1"}


def test_everything_is_refused_at_once_with_its_source(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed(monkeypatch, {"ray": "2.55.0"})
    file = settings(
        work,
        "[limits]\nnum_gpus = 9\n"
        '[environment]\npass = ["RAY_AUTH_TOKEN"]\n'
        'set = {RAY_USE_TLS = "0"}\n'
        '[override]\nSR-NOPE-999 = {until = 2099-01-01, reason = "x"}\n',
    )
    (work / ".env").write_text("RAY_AUTH_MODE=tokn\n")
    (work / ".env").chmod(0o600)
    wish = Wish(
        flags={"limits.num_cpus": 4096},
        ray_options=("--dashboard-host=0.0.0.0", "--no-such-flag"),
        arguments=(Request(Kind.ARGUMENT, "_redis_password", "x", "argument _redis_password"),),
    )

    found = refused(work, wish, RAY_USE_TLS="yes", RAY_AUTH_TOKEN="hunter2")

    assert set(found) == {
        "installed Ray",
        "flag --dashboard-host",
        "flag --no-such-flag",
        "argument _redis_password",
        "setting environment.set",
        "setting environment.pass",
        "setting override.SR-NOPE-999",
        "file .env",
        "environment",
        "flag --num-cpus",
        f"file {file}",
    }
    assert found["flag --num-cpus"] == "SR-LIMIT-001"
    assert found[f"file {file}"] == "SR-LIMIT-002"
    assert found["installed Ray"] == "SR-VER-002"


def test_refusals_show_no_secret(work: Path) -> None:
    settings(work, '[environment]\nset = {RAY_AUTH_TOKEN = "hunter2"}\n')

    with pytest.raises(RefusedError) as caught:
        judge(work, None, RAY_AUTH_MODE="off")

    assert "hunter2" not in repr(caught.value.refusals)


def test_inherited_variables_are_scrubbed_and_named(work: Path) -> None:
    decision = judge(
        work, None, RAY_NO_SUCH_THING="1", LD_PRELOAD="/x.so", RAY_ADDRESS="192.0.2.1:1"
    )

    assert decision.variables == {}
    told = " ".join(decision.notices)
    assert "unknown to secure-ray, so not passed on: RAY_NO_SUCH_THING" in told
    assert "LD_PRELOAD" in told
    assert "192.0.2.1" not in told


def test_unknown_options_need_to_be_named_in_allow_flags(work: Path) -> None:
    wish = Wish(ray_options=("--brand-new=1",))
    assert refused(work, wish) == {"flag --brand-new": "SR-RAY-001"}

    settings(work, '[ray]\nallow_flags = ["--brand-new"]\n')
    assert judge(work, wish).ray_options == ("--brand-new=1",)


@pytest.mark.parametrize(
    ("until", "allowed"), [("2026-11-22T12:00:01Z", True), ("2026-11-22T12:00:00Z", False)]
)
def test_override_of_a_limit_holds_until_it_ends(work: Path, until: str, *, allowed: bool) -> None:
    settings(work, f'[override]\nSR-LIMIT-001 = {{until = {until}, reason = "x"}}\n')
    wish = Wish(flags={"limits.num_cpus": 9})

    if allowed:
        assert judge(work, wish).limits.num_cpus == 9
    else:
        assert refused(work, wish)["flag --num-cpus"] == "SR-LIMIT-001"


@pytest.mark.parametrize(
    ("ray", "rule"),
    [
        ("2.60.0", None),
        ("2.56.0", None),
        ("2.55.9", "SR-VER-002"),
        ("2.52.1", "SR-VER-002"),
        ("2.52.0", "SR-VER-001"),
        ("1.13.0", "SR-VER-001"),
        ("2.60.0+local", None),
        ("rubbish", "SR-VER-003"),
    ],
)
def test_ray_versions(
    work: Path, monkeypatch: pytest.MonkeyPatch, ray: str, rule: str | None
) -> None:
    installed(monkeypatch, {"ray": ray})

    if rule is None:
        assert judge(work).versions == {"ray": ray}
    else:
        assert refused(work)["installed Ray"] == rule


@pytest.mark.parametrize("name", ["CVE-2026-0001", "GHSA-aaaa-bbbb-cccc"])
@pytest.mark.parametrize(("until", "rule"), [("2026-11-23", None), ("2026-11-21", "SR-VER-004")])
def test_vulnerable_ray_starts_only_while_an_override_names_the_advisory(
    work: Path, monkeypatch: pytest.MonkeyPatch, name: str, until: str, rule: str | None
) -> None:
    installed(monkeypatch, {"ray": "2.55.0"})
    settings(work, f'[override]\n{name} = {{until = {until}, reason = "x"}}\n')

    if rule is None:
        assert judge(work).settings.override
    else:
        assert refused(work) == {"installed Ray": rule}


def test_nodes_join_from_private_networks_only(work: Path) -> None:
    config = settings(work, '[network]\njoin_from = ["10.0.4.7/24", "fd00::/48"]\n')
    joined = judge(work, Wish(config=config)).settings.network.join_from
    assert joined == ("10.0.4.0/24", "fd00::/48")

    config = settings(work, '[network]\njoin_from = ["0.0.0.0/0"]\n')
    with pytest.raises(UsageError) as caught:
        judge(work, Wish(config=config))
    assert caught.value.code == "SR-FW-005"

    config = settings(work, '[network]\njoin_from = ["everywhere"]\n')
    with pytest.raises(UsageError):
        judge(work, Wish(config=config))


def test_missing_ray_says_what_to_install(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, {})

    with pytest.raises(FailedError) as caught:
        judge(work)

    assert caught.value.code == "SR-VER-010"


def test_wrong_settings_are_no_refusal(work: Path) -> None:
    settings(work, "[limits]\nnum_cpu = 2\n")

    with pytest.raises(UsageError):
        judge(work)


def test_nothing_is_written(work: Path) -> None:
    settings(work, "")
    before = sorted(work.rglob("*"))

    judge(work)

    assert sorted(work.rglob("*")) == before


def test_what_an_older_ray_leaves_open_is_told(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, {"ray": "2.53.0"})
    settings(work, '[override]\nCVE-2026-0001 = {until = 2099-01-01, reason = "x"}\n')

    assert any("kept closed" in notice for notice in judge(work).notices)


def test_override_that_suspends_nothing_is_told_and_not_in_effect(work: Path) -> None:
    settings(work, '[override]\nCVE-1999-0001 = {until = 2099-01-01, reason = "x"}\n')

    decision = judge(work)

    assert decision.settings.override == {}
    assert any("without effect" in one and "CVE-1999-0001" in one for one in decision.notices)


def private(work: Path) -> dict[str, Wish]:
    """Each way to private mode; the head is where this host reaches it without a network."""
    settings(work, '[override]\nCVE-2026-0001 = {until = 2099-01-01, reason = "x"}\n')
    return {
        "flag": Wish(flags={"network.bind": "private"}),
        "address": Wish(flags={"network.bind": "10.77.0.1"}),
        "join": Wish(towards="127.0.0.1"),
    }


@pytest.mark.parametrize("way", ["flag", "address", "join"])
@pytest.mark.parametrize("ray", ["2.52.1", "2.53.0", "2.54.0rc1"])
def test_private_mode_is_refused_on_a_ray_with_a_door_that_asks_for_no_token(
    work: Path, monkeypatch: pytest.MonkeyPatch, way: str, ray: str
) -> None:
    installed(monkeypatch, {"ray": ray})

    assert refused(work, private(work)[way]) == {"installed Ray": "SR-VER-005"}


@pytest.mark.parametrize("bind", ["local", "127.0.0.1"])
def test_local_mode_goes_on_with_such_a_ray(
    work: Path, monkeypatch: pytest.MonkeyPatch, bind: str
) -> None:
    installed(monkeypatch, {"ray": "2.53.0"})
    private(work)

    assert judge(work, Wish(flags={"network.bind": bind})).address == "127.0.0.1"


def test_private_mode_takes_the_one_address_on_a_newer_ray(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed(monkeypatch, {"ray": "2.54.0"})
    asked = []

    def bind_address(wish: str, *, source: str, permitted: frozenset[str]) -> str:
        asked.append((wish, source, permitted))
        return "10.77.0.1"

    monkeypatch.setattr("secure_ray.network.interfaces.bind_address", bind_address)

    assert judge(work, private(work)["flag"]).address == "10.77.0.1"
    assert asked == [("private", "flag --bind", frozenset({"CVE-2026-0001"}))]


def test_worker_listens_where_it_reaches_its_head_from(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def towards(head: str, *, permitted: frozenset[str]) -> str:
        assert not permitted
        return f"towards {head}"

    monkeypatch.setattr("secure_ray.network.interfaces.bind_address_towards", towards)

    assert judge(work, Wish(towards="10.77.0.1")).address == "towards 10.77.0.1"


@pytest.mark.parametrize("bind", [None, "private", "10.0.0.5"])
def test_worker_may_name_the_address_that_it_has(
    work: Path, monkeypatch: pytest.MonkeyPatch, bind: str | None
) -> None:
    two_networks(monkeypatch)

    wish = Wish(towards="10.0.0.1", flags={"network.bind": bind})

    assert judge(work, wish).address == "10.0.0.5"


@pytest.mark.parametrize("bind", ["local", "192.168.7.2"])
def test_worker_listens_nowhere_else_and_says_so(
    work: Path, monkeypatch: pytest.MonkeyPatch, bind: str
) -> None:
    two_networks(monkeypatch)

    with pytest.raises(UsageError) as caught:
        judge(work, Wish(towards="10.0.0.1", flags={"network.bind": bind}))

    assert caught.value.code == "SR-CFG-020"
    assert f"network.bind is {bind} (flag" in caught.value.cause
    assert "from 10.0.0.5" in caught.value.cause


def two_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    found = (Candidate("eth0", "10.0.0.5"), Candidate("eth1", "192.168.7.2"))
    monkeypatch.setattr("secure_ray.network.interfaces.candidates", lambda: found)
    monkeypatch.setattr("secure_ray.network.interfaces.source_address", lambda _head: "10.0.0.5")


def test_store_is_chosen_and_an_unsafe_one_refused(work: Path) -> None:
    assert judge(work).store is StoreKind.ROCKSDB

    settings(work, '[redis]\naddress = "redis://10.0.0.9:6379"\n')

    found = refused(work)
    assert set(found.values()) <= {"SR-DATA-002", "SR-DATA-007"}
    assert len(found) == 1


def test_redis_without_tls_can_be_permitted_and_without_a_password_not(work: Path) -> None:
    settings(
        work,
        '[redis]\naddress = "redis://10.0.0.9:6379"\n'
        '[override]\nSR-DATA-002 = {until = 2099-01-01, reason = "a tunnel"}\n',
    )

    assert set(refused(work).values()) == {"SR-DATA-007"}
