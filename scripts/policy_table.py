"""Writes docs/policy.md, docs/errors.md and docs/ports.md; `--check` says whether one is stale."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from secure_ray.policy.knobs import SUPPORTED, Kind, Knob, knobs
from secure_ray.policy.ports import (
    ALL_COMPONENTS,
    BLOCK_COUNT,
    BLOCK_SIZE,
    FIRST_BLOCK,
    RESERVATION_OFFSET,
    WORKER_OFFSET,
    Component,
    Reach,
)
from secure_ray.policy.rules import RULES, Rule, Severity

if TYPE_CHECKING:
    from collections.abc import Iterable

TARGET = Path(__file__).resolve().parent.parent / "docs" / "policy.md"

_INTRODUCTION = """\
# The policy

<!-- Written by scripts/policy_table.py from src/secure_ray/policy/tables. Do not edit. -->

What secure-ray does with each knob of Ray. `secure-ray explain SR-NET-002` tells more of a rule.

- **refuse**: an unsafe value contradicts a protection; the command is refused, with all refusals
  at once.
- **scrub**: not passed on from the caller's environment; refused where it is asked for by name, in
  the settings file or in a runtime environment.
- **pin**: secure-ray sets it itself; the same value is fine, another is refused. Where no value is
  shown it is known at launch only (a path, a port).
- **allow**: known and harmless.

Values are compared without regard to the case of ASCII letters and otherwise exactly: `tokn`,
` token` and an empty value are not `token`. An option, an argument or a `_system_config` key that
is not listed is refused unless `[ray] allow_flags` names it. A `RAY_` variable that is not listed
is not passed on. A `_system_config` key without a row is judged as the variable `RAY_<key>`.

A rule with an override can be suspended for a time:

```toml
[override]
SR-NET-005 = {until = 2027-01-31, reason = "the mirror is behind a proxy until the move"}
```
"""

_ERRORS_INTRODUCTION = """\
# Errors and findings

<!-- Written by scripts/policy_table.py from src/secure_ray/policy/rules*.py. Do not edit. -->

Each message of secure-ray begins with a code. Here is what it means and what to do;
`secure-ray explain SR-STATE-004` says the same in a terminal. What the policy refuses stands in
[policy.md](policy.md).
"""

_PORTS_INTRODUCTION = f"""\
# Ports

<!-- Written by scripts/policy_table.py from src/secure_ray/policy/ports.py. Do not edit. -->

A cluster takes one block of {BLOCK_SIZE} ports, the same on all of its nodes: the first free one of
{BLOCK_COUNT} from {FIRST_BLOCK} on, or the one at `ports.base`. `secure-ray status` shows the numbers.

In local mode everything is on 127.0.0.1. In private mode what is encrypted and asks for a
certificate is on the node's private address; what is plain stays on loopback, and reaches other
nodes only through the relay.
"""

_AREAS = {
    "AUDIT": "What the proof after a start and `secure-ray audit` find",
    "PROBE": "Why the proof could not look",
    "STATE": "The cluster and its supervisor",
    "RAY": "Ray itself",
    "VER": "Versions and advisories",
    "NET": "Ports",
    "BIND": "The address",
    "FW": "The firewall",
    "GUARD": "The bind guard",
    "PKI": "Keys, certificates, token",
    "ROT": "Rotating certificates",
    "JOIN": "Joining a cluster, and its nodes",
    "FILE": "Files",
    "CFG": "Settings",
    "CLI": "The command line",
    "DEPLOY": "Files for other systems",
}

_TITLES = {
    Kind.FLAG: "Options of `ray start`",
    Kind.VARIABLE: "Environment variables",
    Kind.ARGUMENT: "Arguments of `ray.init`",
    Kind.SYSTEM_CONFIG: "Keys of `_system_config`",
}


def render_policy() -> str:
    """docs/policy.md."""
    parts = [_INTRODUCTION]
    parts += [_knob_section(kind) for kind in Kind]
    parts.append(_rule_section())
    return "\n".join(parts)


def render_errors() -> str:
    """docs/errors.md."""
    return "\n".join([_ERRORS_INTRODUCTION, *map(_area_section, _AREAS)])


def render_ports() -> str:
    """docs/ports.md."""
    rows = [_port_row(component) for component in ALL_COMPONENTS]
    last = BLOCK_SIZE - 1
    rows += [
        (f"+{RESERVATION_OFFSET}", "", "reservation, never listens", "", "loopback", "each"),
        (
            f"+{WORKER_OFFSET} to +{last}",
            "`workers`",
            "workers, drivers",
            "grpc",
            "the node's address",
            "each",
        ),
    ]
    head = ("Port", "Setting", "What", "Speaks", "In private mode on", "Nodes")
    return f"{_PORTS_INTRODUCTION}\n{_table(head, rows)}"


def _port_row(component: Component) -> tuple[str, ...]:
    return (
        f"+{component.offset}",
        "" if component.ours else f"`{component.name}`",
        component.title + (", private mode only" if component.ours else ""),
        component.protocol.value,
        "the node's address" if component.reach is Reach.NODE else "loopback",
        "head" if component.head else "each",
    )


def _knob_section(kind: Kind) -> str:
    rows = [
        (
            f"`{knob.name}`",
            _action(knob),
            _unsafe(knob),
            knob.rule,
            "all" if knob.versions == SUPPORTED else f"`{knob.versions}`",
            knob.why,
            knob.fix,
        )
        for knob in knobs(kind)
    ]
    head = ("Name", "Action", "Unsafe", "Rule", "Ray", "Why", "Fix")
    return f"## {_TITLES[kind]}\n\n{_table(head, rows)}"


def _rule_section() -> str:
    rows = [
        (entry.id, entry.title, entry.severity.value, _yes(entry), entry.why, entry.fix)
        for entry in RULES.values()
        if not _is_error(entry)
    ]
    head = ("Rule", "What", "Severity", "Override", "Why", "Fix")
    return f"## Rules\n\n{_table(head, rows)}"


def _area_section(area: str) -> str:
    rows = [
        (entry.id, entry.title, entry.severity.value, entry.why, entry.fix)
        for entry in RULES.values()
        if entry.area == area and _is_error(entry)
    ]
    head = ("Code", "What", "Severity", "Why", "Fix")
    return f"## {_AREAS[area]}\n\n{_table(head, rows)}"


def _is_error(entry: Rule) -> bool:
    return entry.severity is Severity.ERROR or entry.area == "AUDIT"


def _action(knob: Knob) -> str:
    return f"pin `{knob.pinned}`" if knob.pinned is not None else knob.action.value


def _unsafe(knob: Knob) -> str:
    return knob.unsafe.describe()


def _yes(entry: Rule) -> str:
    return "yes" if entry.overridable else "no"


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [_line(head), _line(tuple("---" for _ in head)), *map(_line, rows)]
    return "\n".join(lines) + "\n"


def _line(cells: tuple[str, ...]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


PAGES = {"policy.md": render_policy, "errors.md": render_errors, "ports.md": render_ports}


def main(arguments: list[str], target: Path = TARGET) -> int:
    """Write or check `target` and what belongs beside it; 1 when something is stale, else 0."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail when stale")
    check = parser.parse_args(arguments).check
    stale = False
    for name, page in PAGES.items():
        path, wanted = target.with_name(name), page()
        if not check:
            path.write_text(wanted, encoding="utf-8")
        elif not path.exists() or path.read_text(encoding="utf-8") != wanted:
            print(f"{path} is stale: run scripts/policy_table.py", file=sys.stderr)
            stale = True
    return int(stale)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
