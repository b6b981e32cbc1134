"""A check: the rules that it proves, and how."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from secure_ray.audit.findings import Finding, Rule
    from secure_ray.audit.target import Target


@dataclass(frozen=True)
class Check:
    """Looks at one subject of the live cluster.

    Attributes:
        name: The subject.
        rules: All that it must say something about.
        run: Makes the findings; what it raises becomes an error of every rule.
    """

    name: str
    rules: tuple[Rule, ...]
    run: Callable[[Target], Iterable[Finding]]
