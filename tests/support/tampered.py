"""`secure-ray` with a protection taken out after all was decided: what is left is the proof.

    python tampered.py '{"unset": ["RAY_USE_TLS"]}' up --head

Keys: `unset`, `set` (variables of Ray's environment), `token_in` (a variable that gets the token),
`open_run` (makes the run directory 0755 at this event of the start).
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from secure_ray.cli.main import main
from secure_ray.node import bring_up, prepare

if TYPE_CHECKING:
    from collections.abc import Callable

    from secure_ray.node.plan import LaunchPlan


def tamper(plan: LaunchPlan, changes: dict[str, Any]) -> LaunchPlan:
    """`plan` with the environment changed."""
    environment = plan.environment | changes.get("set", {})
    for name in changes.get("unset", []):
        del environment[name]
    if "token_in" in changes:
        environment[changes["token_in"]] = plan.paths.token.read_text().strip()
    return replace(plan, environment=environment)


def run(changes: dict[str, Any], arguments: list[str]) -> int:
    """The command line, with `changes` between its last decision and the start."""
    original_prepare, original_bring_up = prepare.prepare, bring_up.bring_up

    def prepare_tampered(*positional: Any, **named: Any) -> prepare.Prepared:
        prepared = original_prepare(*positional, **named)
        return replace(prepared, plan=tamper(prepared.plan, changes))

    def bring_up_tampered(
        prepared: prepare.Prepared, on_event: Callable[[dict[str, Any]], None]
    ) -> None:
        def watch(event: dict[str, Any]) -> None:
            if event["event"] == changes.get("open_run"):
                prepared.plan.run.directory.chmod(0o755)
            on_event(event)

        if changes.get("open_run") == "prepared":
            prepared.plan.run.directory.chmod(0o755)
        original_bring_up(prepared, watch)

    # Both are looked up by `up` when it runs.
    prepare.prepare = prepare_tampered
    bring_up.bring_up = bring_up_tampered
    return main(arguments)


if __name__ == "__main__":
    sys.exit(run(json.loads(sys.argv[1]), sys.argv[2:]))
