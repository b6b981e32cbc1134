"""Takes requests apart that hold several: `_system_config`, runtime environments."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from secure_ray.policy.knobs import Kind
from secure_ray.policy.request import JOB_VARIABLE_PREFIX, Request

_SYSTEM_CONFIG = {"--system-config", "_system_config"}


@dataclass(frozen=True)
class Expansion:
    """The parts of a request, or why there are none.

    Attributes:
        requests: One request per key.
        readable: False when the value has no keys to judge.
        problem: Then why, to be read after the name.
    """

    requests: tuple[Request, ...] = ()
    readable: bool = True
    problem: str = ""


def expand(request: Request) -> Expansion:
    """The requests inside `request`."""
    value = request.value
    if request.kind is Kind.FLAG:
        value = _parse(value)
    if not isinstance(value, Mapping):
        return Expansion(readable=False, problem="is not a dictionary")
    if not all(isinstance(key, str) for key in value):
        return Expansion(readable=False, problem="has a key that is not text")
    return Expansion(tuple(_part(request, key, inner) for key, inner in value.items()))


def _part(request: Request, key: str, value: object) -> Request:
    if request.name in _SYSTEM_CONFIG:
        return Request(Kind.SYSTEM_CONFIG, key, value, request.source)
    if request.name == JOB_VARIABLE_PREFIX:
        return Request(Kind.VARIABLE, key, value, request.source, in_job=True)
    return Request(Kind.ARGUMENT, f"{request.name}.{key}", value, request.source)


def _parse(value: object) -> object:
    try:
        return json.loads(value) if isinstance(value, str) else None
    except (ValueError, RecursionError):
        return None
