"""Judges whether a server refused a client that it must keep out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from secure_ray.network.grpc_probe import Outcome, ProbeResult

if TYPE_CHECKING:
    from secure_ray.audit.findings import Finding, Rule


def judge_refusal(rule: Rule, where: str, result: ProbeResult, control: ProbeResult) -> Finding:
    """A pass only where the server refused the client and let the cluster's own in (`control`)."""
    if result.outcome is Outcome.ACCEPTED:
        http = "" if result.status is None else f" (HTTP {result.status})"
        return rule.judge(where, holds=False, actual=f"the client was let in{http}")
    if control.outcome is not Outcome.ACCEPTED:
        return rule.unproven(where, f"the cluster's own certificate: {tell(control)}")
    if result.outcome is Outcome.REFUSED:
        return rule.judge(where, holds=True, actual=tell(result))
    return rule.unproven(where, tell(result))


def tell(result: ProbeResult) -> str:
    """What the server did, for a person."""
    return f"{result.outcome.value} ({result.detail})" if result.detail else result.outcome.value
