"""The rules of `policy.firewall` as commands, for hosts that have iptables and no nft."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from secure_ray.policy.firewall import (
    DNS_PORT,
    KNOCKS_AT_ONCE,
    KNOCKS_PER_SECOND,
    of_family,
    spell_range,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from secure_ray.policy.firewall import FirewallPlan

_PROGRAMS = {4: "iptables", 6: "ip6tables"}


def iptables_rules(plan: FirewallPlan) -> str:
    """A shell script that makes or replaces the rules; each family in one transaction."""
    return "".join(_script(plan, version) for version in _PROGRAMS)


def iptables_removal(table: str) -> str:
    """A shell script that removes what `iptables_rules` made for that table."""
    lines: list[str] = []
    for program in _PROGRAMS.values():
        for hook in ("INPUT", "OUTPUT"):
            chain = _chain(table, hook)
            lines.append(
                f"if {program} -D {hook} -j {chain} 2>/dev/null; "
                f"then {program} -F {chain}; {program} -X {chain}; fi\n"
            )
    return "".join(lines)


def _script(plan: FirewallPlan, version: int) -> str:
    program = _PROGRAMS[version]
    chains = {
        "INPUT": _input(plan, version) if plan.opened else [],
        "OUTPUT": _output(plan, version),
    }
    used = {hook: rules for hook, rules in chains.items() if rules}
    if not used:
        return ""
    lines = [f"{program}-restore --noflush <<'END'", "*filter"]
    # Naming a chain here empties it, or makes it: iptables-restore(8).
    lines += [f":{_chain(plan.table, hook)} - [0:0]" for hook in used]
    lines += [f"-A {_chain(plan.table, hook)} {rule}" for hook in used for rule in used[hook]]
    lines += ["COMMIT", "END"]
    for hook in used:
        jump = f"{hook} -j {_chain(plan.table, hook)}"
        lines.append(f"{program} -C {jump} 2>/dev/null || {program} -I {jump}")
    return "\n".join(lines) + "\n"


def _input(plan: FirewallPlan, version: int) -> list[str]:
    opened = _ports(spell_range(ports, ":") for ports in plan.opened)
    rules = ["-i lo -j RETURN", "-m conntrack --ctdir REPLY -j RETURN"]
    if plan.closed:
        rules.append(f"{_ports(map(str, plan.closed))} -j DROP")
    rules += [f"-s {peer} {opened} -j RETURN" for peer in of_family(version, plan.peers)]
    for network in of_family(version, plan.joining) if plan.door else []:
        knock = f"-s {network} -p tcp --dport {plan.door} -m conntrack --ctstate"
        limit = (
            f"-m hashlimit --hashlimit-upto {KNOCKS_PER_SECOND}/second --hashlimit-burst "
            f"{KNOCKS_AT_ONCE} --hashlimit-mode srcip --hashlimit-name sr{_tag(plan.table)}"
        )
        rules += [f"{knock} ESTABLISHED -j RETURN", f"{knock} NEW {limit} -j RETURN"]
    return [*rules, f"{opened} -j DROP"]


def _output(plan: FirewallPlan, version: int) -> list[str]:
    return [
        f"-d {address} -p tcp ! --dport {DNS_PORT} -m owner --uid-owner {plan.uid} "
        "-j REJECT --reject-with tcp-reset"
        for address in of_family(version, plan.metadata)
    ]


def _ports(ports: Iterable[str]) -> str:
    return f"-p tcp -m multiport --dports {','.join(ports)}"


def _chain(table: str, hook: str) -> str:
    return f"SECURE-RAY-{_tag(table)}-{hook}"


def _tag(table: str) -> str:
    """A chain's name ends at 28 bytes, so the table's does not fit."""
    return hashlib.sha256(table.encode()).hexdigest()[:8]
