"""`secure-ray explain`: what a rule or an error code means."""

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from secure_ray.policy.rules import Rule


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(explain)


def explain(
    rule: Annotated[
        str | None, typer.Argument(help="For example SR-NET-002; all are listed without it.")
    ] = None,
    *,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> int:
    """Explain a rule or an error code: what, why, and what to do."""
    from dataclasses import asdict

    from secure_ray.cli.output import columns, emit, emit_json
    from secure_ray.policy.rules import RULES

    chosen = list(RULES.values()) if rule is None else [find_rule(RULES, rule)]
    if json:
        listed = [{**asdict(entry), "severity": entry.severity.value} for entry in chosen]
        emit_json("secure-ray/explain/1", {"rules": listed})
    elif rule is None:
        emit(columns((entry.id, entry.severity.value, entry.title) for entry in chosen))
    else:
        emit(render_rule(chosen[0]))
    return 0


def find_rule(rules: "Mapping[str, Rule]", wanted: str) -> "Rule":
    """The rule with the id `wanted`, in any case.

    Raises:
        UsageError: there is none.
    """
    from difflib import get_close_matches

    from secure_ray.base.errors import UsageError

    name = wanted.strip().upper()
    if name in rules:
        return rules[name]
    near = get_close_matches(name, rules, n=3)
    raise UsageError(
        "SR-CLI-003",
        f"there is no rule {wanted!r}",
        fix=f"did you mean {', '.join(near)}?" if near else "list them all: secure-ray explain",
    )


def render_rule(rule: "Rule") -> str:
    """The rule for a person."""
    lines = [
        f"{rule.id} ({rule.severity.value}): {rule.title}",
        f"  why: {rule.why}",
        f"  fix: {rule.fix}",
    ]
    if rule.overridable:
        suspends = f'[override] {rule.id} = {{until = ..., reason = "..."}} suspends it for a time'
        lines.append(f"  override: {suspends}")
    elif rule.severity.value != "error":
        lines.append("  override: none")
    return "\n".join(lines)
