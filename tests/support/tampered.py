"""`secure-ray` with a protection taken out after all was decided: what is left is the proof.

    python tampered.py '{"unset": ["RAY_USE_TLS"]}' up --head

Keys: `unset`, `set` (variables of Ray's environment), `token_in` (a variable that gets the token),
`open_run` (makes the run directory 0755 at this event of the start), `sans` (further names in the
leaf).
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from secure_ray.cli.main import main
from secure_ray.node import bring_up, identity, prepare

if TYPE_CHECKING:
    from collections.abc import Callable

    from secure_ray.node.plan import LaunchPlan
    from support.clusters import Machine


def up_tampered(machine: Machine, changes: dict[str, Any]) -> subprocess.CompletedProcess[str]:
    """`up --head --json` with `changes`, to its end."""
    arguments = ["up", "--head", "--num-cpus", "1", "--json"]
    return subprocess.run(
        [*machine.prefix, sys.executable, __file__, json.dumps(changes), *arguments],
        env=machine.environment(),
        cwd=machine.home,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


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

    identity.EVERY_NODE += tuple(changes.get("sans", ()))  # type: ignore[attr-defined]
    # Both are looked up by `up` when it runs.
    prepare.prepare = prepare_tampered
    bring_up.bring_up = bring_up_tampered
    return main(arguments)


if __name__ == "__main__":
    sys.exit(run(json.loads(sys.argv[1]), sys.argv[2:]))
