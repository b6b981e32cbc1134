"""The rules of the policy and the codes of all errors: what `secure-ray explain` shows."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


class Severity(Enum):
    """How bad it is when the rule is broken; the order is that of the audit."""

    CRITICAL = "critical"
    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"


@dataclass(frozen=True)
class Rule:
    """One rule or error code.

    Attributes:
        id: Stable identifier, `SR-<AREA>-<NNN>`.
        title: What is wrong, in one line.
        why: Why it matters.
        fix: What the user can do.
        overridable: Whether `[override]` can suspend it for a time.
        severity: How bad it is.
    """

    id: str
    title: str
    why: str
    fix: str
    overridable: bool
    severity: Severity


def _collect() -> Mapping[str, Rule]:
    from secure_ray.policy.rules_access import ACCESS_RULES
    from secure_ray.policy.rules_data import DATA_RULES
    from secure_ray.policy.rules_errors import ERRORS

    return MappingProxyType({entry.id: entry for entry in (*ACCESS_RULES, *DATA_RULES, *ERRORS)})


RULES: Mapping[str, Rule] = _collect()


def rule(id_: str) -> Rule:
    """The rule called `id_`; letters of either case.

    Raises:
        KeyError: there is none.
    """
    return RULES[id_.upper()]
