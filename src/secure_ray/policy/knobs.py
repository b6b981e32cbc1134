"""What a knob of Ray is and what secure-ray does with it. The knobs themselves: `tables/`."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from fnmatch import fnmatchcase
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from secure_ray.policy.values import Unsafe

SUPPORTED = ">=2.52.1"
_GLOB_CHARACTERS = frozenset("*?[")


class Kind(Enum):
    """Where a knob is turned."""

    FLAG = "ray start option"
    VARIABLE = "environment variable"
    ARGUMENT = "ray.init argument"
    SYSTEM_CONFIG = "_system_config key"


class Action(Enum):
    """What secure-ray does with a knob.

    REFUSE: an unsafe value contradicts a protection, so the command is refused.
    SCRUB: not passed on from the caller's environment; refused where it is asked for by name.
    PIN: secure-ray sets it; the same value is fine, another is refused.
    ALLOW: known and harmless; passed on.
    """

    REFUSE = "refuse"
    SCRUB = "scrub"
    PIN = "pin"
    ALLOW = "allow"


@dataclass(frozen=True)
class Knob:
    """One flag, variable, argument or key, or several that a glob names.

    Attributes:
        kind: Where it is turned.
        name: Its name, or a glob. Parts of an argument are dotted: `runtime_env.py_executable`.
        action: What is done with it.
        rule: The rule that refuses it; empty for ALLOW.
        unsafe: Which values are unsafe.
        why: Why they are.
        fix: What to do instead.
        pinned: For PIN the value that is set; None when it is known at launch only (a path, a port).
        versions: The Rays that have it, as a version specifier.
        asks: What an unsafe value asks for, in words; `{value}` stands for it.
        secret: True when the value must never be shown.
    """

    kind: Kind
    name: str
    action: Action
    rule: str
    unsafe: Unsafe
    why: str
    fix: str
    pinned: str | None = None
    versions: str = SUPPORTED
    asks: str = ""
    secret: bool = False

    @property
    def is_glob(self) -> bool:
        """Whether the name stands for several."""
        return not _GLOB_CHARACTERS.isdisjoint(self.name)

    def exists_in(self, ray_version: str) -> bool:
        """Whether this Ray has the knob; yes when the version cannot be read."""
        if self.versions == SUPPORTED:
            return True
        from packaging.specifiers import SpecifierSet
        from packaging.version import InvalidVersion, Version

        try:
            version = Version(ray_version)
        except InvalidVersion:
            return True
        return SpecifierSet(self.versions).contains(version, prereleases=True)


@cache
def knobs(kind: Kind) -> tuple[Knob, ...]:
    """All knobs of a kind, in the order of the table."""
    from secure_ray.policy import tables

    return tables.load(kind)


def find_knob(kind: Kind, name: str, *, ray_version: str | None = None) -> Knob | None:
    """The knob called `name`, or None. An exact name goes before a glob.

    A `_system_config` key without a row of its own is the variable `RAY_<key>` under another name
    (Ray's C++ configuration reads both), so that row applies.
    """
    exact, globs = _index(kind)
    found = exact.get(name) or next((k for k in globs if fnmatchcase(name, k.name)), None)
    if found is None and kind is Kind.SYSTEM_CONFIG:
        return find_knob(Kind.VARIABLE, f"RAY_{name}", ray_version=ray_version)
    if found is not None and ray_version is not None and not found.exists_in(ray_version):
        return None
    return found


@cache
def _index(kind: Kind) -> tuple[dict[str, Knob], tuple[Knob, ...]]:
    rows = knobs(kind)
    exact = {knob.name: knob for knob in rows if not knob.is_glob}
    return exact, tuple(knob for knob in rows if knob.is_glob)
