"""From what was asked to what will be done: settings, policy, versions and limits in one decision.

Nothing is written here. All refusals are collected and raised at once.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from msgspec import structs

from secure_ray.base.errors import FailedError, Refusal, RefusedError, UsageError
from secure_ray.node.advisories import read_advisories
from secure_ray.node.host import read_host, read_versions
from secure_ray.node.judge_driver import held_back, variable_requests
from secure_ray.node.load import load_settings
from secure_ray.policy.addresses import LOOPBACK, same_address
from secure_ray.policy.bind import PRIVATE, judge_bind, stays_local
from secure_ray.policy.firewall import private_network
from secure_ray.policy.knobs import Kind
from secure_ray.policy.limits import Limits, decide_limits
from secure_ray.policy.ports import open_to_anybody
from secure_ray.policy.ray_flags import parse_ray_flags, render_ray_flags
from secure_ray.policy.review import Request, Verdict, review
from secure_ray.policy.store import StoreKind, choose_store, judge_store
from secure_ray.policy.versions import in_effect, judge_private, judge_ray
from secure_ray.settings.resolve import DEFAULT

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from pathlib import Path

    from secure_ray.settings.model import Override, Settings

_SET = "setting environment.set"


@dataclass(frozen=True)
class Wish:
    """What the user asked for, before any decision.

    Attributes:
        flags: Settings from the command line or from arguments, by dotted key; None is not given.
        config: The settings file that was named, or None.
        ray_options: `ray start` options, as after `--`.
        arguments: Arguments of `secure_init` that are Ray's own.
        sources: Where an option came from that was not written as one, by option.
        towards: The head's address, for a worker: it listens where it reaches that from.
    """

    flags: Mapping[str, object] = field(default_factory=dict)
    config: Path | None = None
    ray_options: tuple[str, ...] = ()
    arguments: tuple[Request, ...] = ()
    towards: str = ""
    sources: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Decision:
    """What will be done.

    Attributes:
        settings: The settings that won, with those overrides alone that suspend something.
        ray_options: Further `ray start` options that policy lets through.
        variables: Variables of `[environment] set` that policy lets through.
        held_back: Variables of the caller that steer Ray and do not reach it.
        notices: What a person should know: what was not passed on.
        address: What this node listens on.
        store: What keeps a head's control store.
        origin: Where each setting came from, by dotted key.
        settings_file: The settings file that was read, or None.
    """

    settings: Settings
    limits: Limits
    versions: dict[str, str]
    ray_options: tuple[str, ...]
    variables: dict[str, str]
    held_back: frozenset[str]
    notices: tuple[str, ...]
    address: str = LOOPBACK
    store: StoreKind = StoreKind.MEMORY
    origin: Mapping[str, str] = field(default_factory=dict)
    settings_file: Path | None = None


def _flags(wish: Wish) -> tuple[Request, ...]:
    return tuple(
        replace(request, source=wish.sources.get(request.name, request.source))
        for request in parse_ray_flags(wish.ray_options)
    )


def decide(wish: Wish, *, environ: Mapping[str, str], cwd: Path, now: datetime) -> Decision:
    """Judge `wish` on this host.

    Raises:
        RefusedError: policy refuses something; holds every refusal.
        UsageError: the settings are wrong, or those of a head while this is a worker.
        FailedError: Ray is not installed, or this host has no address to listen on.
    """
    loaded = load_settings(config=wish.config, environ=environ, cwd=cwd, flags=wish.flags)
    settings = loaded.resolved.settings
    versions = read_versions()
    if "ray" not in versions:
        raise FailedError(
            "SR-VER-010",
            "Ray is not installed for this Python",
            fix="pip install 'ray[default]'",
        )
    for network in settings.network.join_from:
        private_network(network)
    verdict = review(
        (
            *_flags(wish),
            *wish.arguments,
            *variable_requests(settings.environment.set, _SET, explicit=True),
            *_held_back(settings, environ),
            _log_level(settings),
            *variable_requests(loaded.dotenv, "file .env", explicit=False),
            *variable_requests(environ, "environment", explicit=False),
        ),
        ray_version=versions["ray"],
        allow_flags=frozenset(settings.ray.allow_flags),
        overrides=settings.override,
        now=now,
    )
    book = read_advisories(settings.advisories.files)
    limits, over_limit = decide_limits(settings.limits, read_host(environ), loaded.resolved.origin)
    private = bool(wish.towards) or not stays_local(settings.network.bind)
    refusals = (
        *judge_ray(versions["ray"], book, settings.override, now),
        *(judge_private(versions["ray"]) if private else ()),
        *verdict.refusals,
        *_not_overridden(over_limit, settings, now),
        *_not_overridden(
            judge_bind(settings.network.bind, loaded.resolved.origin["network.bind"]), settings, now
        ),
        *_not_overridden(
            judge_store(settings.store, settings.redis, versions["ray"], loaded.resolved.origin),
            settings,
            now,
        ),
    )
    if refusals:
        raise RefusedError(refusals)
    active = in_effect(settings.override, versions["ray"], book, now)
    return Decision(
        settings=structs.replace(settings, override=active),
        limits=limits,
        versions=versions,
        ray_options=render_ray_flags(
            request for request in verdict.passed if request.kind is Kind.FLAG
        ),
        variables={
            request.name: str(request.value) for request in verdict.passed if request.source == _SET
        },
        held_back=held_back(verdict) & frozenset(environ),
        notices=(*_notices(verdict, versions["ray"]), *_idle(settings.override, active)),
        address=_address(wish, settings, loaded.resolved.origin, now),
        store=choose_store(settings.store, settings.redis, versions["ray"]),
        origin=loaded.resolved.origin,
        settings_file=loaded.settings_file,
    )


def _address(wish: Wish, settings: Settings, origin: Mapping[str, str], now: datetime) -> str:
    from secure_ray.network.interfaces import bind_address, bind_address_towards

    permitted = frozenset(_active(settings, now))
    bind, source = settings.network.bind, origin["network.bind"]
    if not wish.towards:
        return bind_address(bind, source=source, permitted=permitted)
    address = bind_address_towards(wish.towards, permitted=permitted)
    # "private" names no address: that of a worker is private anyway.
    if source != DEFAULT and bind != PRIVATE:
        chosen = bind_address(bind, source=source, permitted=permitted)
        if not same_address(chosen, address):
            raise UsageError(
                "SR-CFG-020",
                f"network.bind is {bind} ({source}), but this host reaches the head {wish.towards} "
                f"from {address}, and a worker listens there",
                fix=f"leave it out on a worker, or change the route: ip route get {wish.towards}",
            )
    return address


def _held_back(settings: Settings, environ: Mapping[str, str]) -> tuple[Request, ...]:
    """Variables that `[environment] pass` names, as wishes: policy may refuse them."""
    wanted = {
        name: value
        for name, value in environ.items()
        if any(fnmatchcase(name, pattern) for pattern in settings.environment.pass_)
    }
    return variable_requests(wanted, "setting environment.pass", explicit=True)


def _log_level(settings: Settings) -> Request:
    level = settings.logging.level
    return Request(Kind.VARIABLE, "RAY_BACKEND_LOG_LEVEL", level, "setting logging.level")


def _not_overridden(
    refusals: tuple[Refusal, ...], settings: Settings, now: datetime
) -> tuple[Refusal, ...]:
    active = _active(settings, now)
    return tuple(refusal for refusal in refusals if refusal.rule not in active)


def _active(settings: Settings, now: datetime) -> set[str]:
    """The rules that an override suspends now."""
    return {rule for rule, override in settings.override.items() if override.until > now}


def _notices(verdict: Verdict, ray_version: str) -> tuple[str, ...]:
    notices = []
    if verdict.scrubbed:
        notices.append(f"not passed on to Ray: {_names(verdict.scrubbed)}")
    if verdict.unknown:
        notices.append(f"unknown to secure-ray, so not passed on: {_names(verdict.unknown)}")
    notices += [
        f"the {component.title} of Ray {ray_version} asks for no token, so it is kept closed: "
        f"ray job does not work before Ray {component.asks_since}"
        for component in open_to_anybody(ray_version)
    ]
    return tuple(notices)


def _idle(overrides: Mapping[str, Override], active: Mapping[str, Override]) -> tuple[str, ...]:
    idle = ", ".join(sorted(overrides.keys() - active.keys()))
    return (f"overrides without effect (ended, or not for this Ray): {idle}",) if idle else ()


def _names(requests: tuple[Request, ...]) -> str:
    return ", ".join(sorted({request.name for request in requests}))
