"""Judges what was asked for by the table of knobs, all of it at once.

A request is refused, scrubbed, pinned or passed; which one is written in the table. What the table
does not know is never passed on: options, arguments and keys are refused, variables are named.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType
from typing import TYPE_CHECKING

from secure_ray.base.errors import Refusal, RefusedError
from secure_ray.policy.expand import expand
from secure_ray.policy.knobs import Action, Kind, Knob, find_knob
from secure_ray.policy.request import Request
from secure_ray.policy.rules import RULES
from secure_ray.policy.values import Check, is_wildcard, shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from secure_ray.settings.model import Override

__all__ = ["Overridden", "Request", "Verdict", "is_rays_variable", "review"]

_OWN_VARIABLES = "SECURE_RAY_"
_NOTHING: Mapping[str, str] = MappingProxyType({})
_NO_OVERRIDES: Mapping[str, Override] = MappingProxyType({})
_UNKNOWN_RULES = {
    Kind.FLAG: "SR-RAY-001",
    Kind.ARGUMENT: "SR-RAY-003",
    Kind.SYSTEM_CONFIG: "SR-RAY-004",
}


@dataclass(frozen=True)
class Overridden:
    """A request that is passed on only because an override suspends its rule."""

    request: Request
    rule: str
    override: Override


@dataclass(frozen=True)
class Verdict:
    """What becomes of the requests.

    Attributes:
        refusals: Everything that is refused; nothing may be started unless this is empty.
        scrubbed: In the caller's environment, not passed on.
        pinned: Asked for what secure-ray sets anyway.
        passed: To be handed to Ray.
        unknown: Variables for Ray that the table does not know, not passed on.
        overridden: Those of `passed` that need an override.
    """

    refusals: tuple[Refusal, ...] = ()
    scrubbed: tuple[Request, ...] = ()
    pinned: tuple[Request, ...] = ()
    passed: tuple[Request, ...] = ()
    unknown: tuple[Request, ...] = ()
    overridden: tuple[Overridden, ...] = ()

    def require_accepted(self) -> None:
        """Raise if anything is refused.

        Raises:
            RefusedError: with every refusal.
        """
        if self.refusals:
            raise RefusedError(self.refusals)


def review(
    requests: Iterable[Request],
    *,
    ray_version: str,
    allow_flags: frozenset[str] = frozenset(),
    overrides: Mapping[str, Override] = _NO_OVERRIDES,
    now: datetime,
    pins: Mapping[str, str] = _NOTHING,
) -> Verdict:
    """Judge all requests.

    Args:
        requests: What was asked for, from every source.
        ray_version: The installed Ray; knobs that it does not have count as unknown.
        allow_flags: Unknown options, arguments and keys that the user takes the blame for.
        overrides: By rule. Those named after an advisory are for `versions.judge_ray`.
        now: The time, aware.
        pins: What secure-ray is about to set where the table says it is known at launch only, by
            name, so that its own value coming back (a nested call) is not refused.
    """
    context = _Context(ray_version, frozenset(map(_plain, allow_flags)), overrides, now, pins)
    decided = [(request, _decide(request, context)) for request in requests]

    def having(outcome: _Outcome) -> tuple[Request, ...]:
        return tuple(request for request, decision in decided if decision.outcome is outcome)

    return Verdict(
        refusals=tuple(_override_refusals(overrides, now))
        + tuple(refusal for _, decision in decided for refusal in decision.refusals),
        scrubbed=having(_Outcome.SCRUBBED),
        pinned=having(_Outcome.PINNED),
        passed=having(_Outcome.PASSED),
        unknown=having(_Outcome.UNKNOWN),
        overridden=tuple(entry for _, decision in decided for entry in decision.overridden),
    )


def is_rays_variable(name: str) -> bool:
    """Whether a variable is meant for Ray, or is one that the table knows."""
    return name.startswith(("RAY_", "__RAY_")) or find_knob(Kind.VARIABLE, name) is not None


class _Outcome(Enum):
    PASSED = "passed"
    PINNED = "pinned"
    SCRUBBED = "scrubbed"
    UNKNOWN = "unknown"
    REFUSED = "refused"
    IGNORED = "ignored"


@dataclass(frozen=True)
class _Decision:
    outcome: _Outcome
    refusals: tuple[Refusal, ...] = ()
    overridden: tuple[Overridden, ...] = ()


@dataclass(frozen=True)
class _Context:
    ray_version: str
    allowed: frozenset[str]
    overrides: Mapping[str, Override]
    now: datetime
    pins: Mapping[str, str] = field(repr=False)

    def override_for(self, rule: str) -> Override | None:
        override = self.overrides.get(rule)
        if override is None or override.until <= self.now or not RULES[rule].overridable:
            return None
        return override


_PASSED = _Decision(_Outcome.PASSED)


def _decide(request: Request, context: _Context) -> _Decision:
    knob = find_knob(request.kind, request.name, ray_version=context.ray_version)
    if knob is None:
        return _decide_unknown(request, context)
    if knob.unsafe.check is Check.EACH_KEY:
        return _decide_each_key(request, knob, context)
    if request.kind is Kind.ARGUMENT and request.value is None:
        return _PASSED  # the default of every argument of ray.init that has a row
    return _decide_known(request, knob, context)


def _decide_known(request: Request, knob: Knob, context: _Context) -> _Decision:
    match knob.action:
        case Action.PIN:
            return _decide_pinned(request, knob, context)
        case Action.SCRUB if not request.explicit:
            own = request.name.startswith(_OWN_VARIABLES)
            return _Decision(_Outcome.IGNORED if own else _Outcome.SCRUBBED)
        case Action.ALLOW | Action.REFUSE | Action.SCRUB:
            unsafe = knob.unsafe.holds(request.value)
            return _refuse_or_override(request, knob, context) if unsafe else _PASSED


def _decide_pinned(request: Request, knob: Knob, context: _Context) -> _Decision:
    known_at_launch = knob.pinned is None
    if known_at_launch and request.value == context.pins.get(request.name):
        return _Decision(_Outcome.PINNED)
    if known_at_launch and not request.explicit:
        return _Decision(_Outcome.SCRUBBED)
    if knob.unsafe.holds(request.value):
        return _refuse_or_override(request, knob, context)
    return _Decision(_Outcome.PINNED)


def _decide_unknown(request: Request, context: _Context) -> _Decision:
    if request.kind is Kind.VARIABLE:
        return _decide_unknown_variable(request)
    last_part = request.name.rpartition(".")[2]
    if {_plain(request.name), _plain(last_part)} & context.allowed:
        return _PASSED
    rule = RULES[_UNKNOWN_RULES[request.kind]]
    subject = f"{rule.title}: {shown(request.label)}"
    return _refused(Refusal(rule.id, subject, request.source, rule.why, rule.fix))


def _decide_unknown_variable(request: Request) -> _Decision:
    if not is_rays_variable(request.name):
        return _PASSED if request.explicit else _Decision(_Outcome.IGNORED)
    if not request.in_job:
        return _Decision(_Outcome.UNKNOWN)
    rule = RULES["SR-CODE-009"]
    subject = f"{request.label} is reserved for Ray"
    return _refused(Refusal(rule.id, subject, request.source, rule.why, rule.fix))


def _decide_each_key(request: Request, knob: Knob, context: _Context) -> _Decision:
    if request.value is None:
        return _PASSED
    expansion = expand(request)
    if not expansion.readable:
        subject = f"{request.label} {expansion.problem}"
        return _refused(Refusal(knob.rule, subject, request.source, knob.why, knob.fix))
    decisions = [_decide(part, context) for part in expansion.requests]
    refusals = tuple(refusal for decision in decisions for refusal in decision.refusals)
    overridden = tuple(entry for decision in decisions for entry in decision.overridden)
    return _Decision(_Outcome.REFUSED if refusals else _Outcome.PASSED, refusals, overridden)


def _refuse_or_override(request: Request, knob: Knob, context: _Context) -> _Decision:
    override = context.override_for(knob.rule)
    if override is None:
        return _refused(_refusal(request, knob))
    if knob.unsafe.check is Check.NOT_LOOPBACK and is_wildcard(str(request.value)):
        rule = RULES["SR-NET-001"]
        subject = _subject(request, knob)
        return _refused(Refusal(rule.id, subject, request.source, rule.why, rule.fix))
    return _Decision(_Outcome.PASSED, overridden=(Overridden(request, knob.rule, override),))


def _refused(refusal: Refusal) -> _Decision:
    return _Decision(_Outcome.REFUSED, (refusal,))


def _refusal(request: Request, knob: Knob) -> Refusal:
    return Refusal(knob.rule, _subject(request, knob), request.source, knob.why, knob.fix)


def _subject(request: Request, knob: Knob) -> str:
    if knob.asks:
        return knob.asks.format(value=shown(request.value))
    # Where any value is unsafe, this one says nothing more, and it may be a secret.
    if knob.secret or knob.unsafe.check is Check.ANY:
        return f"{request.label} is set"
    return f"{request.label} is '{shown(request.value)}'"


def _override_refusals(overrides: Mapping[str, Override], now: datetime) -> Iterable[Refusal]:
    for name, override in overrides.items():
        if not name.startswith("SR-"):
            continue
        rule_id = _override_problem(name, override, now)
        if rule_id is not None:
            problem = RULES[rule_id]
            subject = f"{problem.title}: {name}"
            yield Refusal(rule_id, subject, f"setting override.{name}", problem.why, problem.fix)


def _override_problem(name: str, override: Override, now: datetime) -> str | None:
    if name not in RULES:
        return "SR-RAY-008"
    if not RULES[name].overridable:
        return "SR-RAY-007"
    return "SR-RAY-006" if override.until <= now else None


def _plain(name: str) -> str:
    return name.lstrip("-_").replace("-", "_")
