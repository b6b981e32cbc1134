"""The rules of the policy, what the audit proves, and all errors: what `secure-ray explain` shows.

The entries lie beside this file, each area (`NET` in `SR-NET-002`) in one of them.
"""

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
    ERROR = "error"
    """No rule was broken: a command could not do its work."""


@dataclass(frozen=True)
class Rule:
    """One rule or error code.

    Attributes:
        id: Stable identifier, `SR-<AREA>-<NNN>`.
        title: What is wrong, in one line.
        why: Why it matters, or how it comes about.
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

    @property
    def area(self) -> str:
        """The middle of the identifier, for example `NET`."""
        return self.id.split("-")[1]


def failure(code: str, title: str, why: str, fix: str) -> Rule:
    """An error that breaks no rule, so that there is nothing to override."""
    return Rule(code, title, why, fix, overridable=False, severity=Severity.ERROR)


def _entries() -> tuple[Rule, ...]:
    from secure_ray.policy.rules_access import ACCESS_RULES
    from secure_ray.policy.rules_audit import AUDIT_RULES
    from secure_ray.policy.rules_code import CODE_RULES
    from secure_ray.policy.rules_data import DATA_RULES
    from secure_ray.policy.rules_guard import GUARD_RULES
    from secure_ray.policy.rules_join import JOIN_RULES
    from secure_ray.policy.rules_network import NETWORK_RULES
    from secure_ray.policy.rules_pki import PKI_RULES
    from secure_ray.policy.rules_ray import RAY_RULES
    from secure_ray.policy.rules_rotation import ROTATION_RULES
    from secure_ray.policy.rules_settings import SETTINGS_RULES
    from secure_ray.policy.rules_state import STATE_RULES

    return (
        *ACCESS_RULES,
        *CODE_RULES,
        *DATA_RULES,
        *RAY_RULES,
        *AUDIT_RULES,
        *GUARD_RULES,
        *NETWORK_RULES,
        *PKI_RULES,
        *JOIN_RULES,
        *ROTATION_RULES,
        *STATE_RULES,
        *SETTINGS_RULES,
    )


def _collect() -> Mapping[str, Rule]:
    entries = sorted(_entries(), key=lambda entry: entry.id)
    return MappingProxyType({entry.id: entry for entry in entries})


RULES: Mapping[str, Rule] = _collect()


def rule(id_: str) -> Rule:
    """The rule called `id_`; letters of either case.

    Raises:
        KeyError: there is none.
    """
    return RULES[id_.upper()]
