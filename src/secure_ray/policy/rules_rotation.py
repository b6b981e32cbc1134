"""Errors about rotating certificates and tokens."""

from __future__ import annotations

from secure_ray.policy.rules import failure

_GO_ON = "Then secure-ray rotate-certs --resume goes on where it stopped."

ROTATION_RULES = (
    failure(
        "SR-ROT-001",
        "the head hears nothing of a node",
        "A node that is away can neither be given a new certificate nor be asked what it trusts.",
        "Start it (secure-ray up there), or leave it out with --exclude NAME: it joins again later.",
    ),
    failure(
        "SR-ROT-002",
        "a node did not do what the rotation needs of it in time",
        "It got no new certificate, or its Ray did not end or did not come back. The others go on "
        "working, with old and new certificates side by side.",
        f"See secure-ray status and the log on that node. {_GO_ON}",
    ),
    failure(
        "SR-ROT-003",
        "the head waits for consent to restart",
        "All workers are done. What hangs on the head itself ends when its Ray restarts: drivers "
        "there, and tasks and actors that run there. The rest of the cluster goes on.",
        "secure-ray rotate-certs --resume --accept-head-restart, when that may be.",
    ),
    failure(
        "SR-ROT-004",
        "a port does not yet show, or trust, what the next step needs",
        "A rotation goes on only once every port of every node was asked and answered as it should.",
        f"secure-ray certs check shows every node. {_GO_ON} --rollback takes a rotation of the root "
        "CA back.",
    ),
    failure(
        "SR-ROT-005",
        "there is no rotation to take back",
        "A new leaf or issuing CA changes nothing about whom nodes trust; a root CA can be brought "
        "back until it is retired, which is the last step.",
        "secure-ray certs show tells what there is.",
    ),
    failure(
        "SR-ROT-006",
        "the root CA is being rotated",
        "An earlier run has not come to its end; two rotations at once would cut nodes off.",
        "secure-ray rotate-certs --resume finishes it, --rollback takes it back.",
    ),
    failure(
        "SR-ROT-007",
        "another rotation runs",
        "Another secure-ray command moves the nodes of this cluster just now.",
        "Wait for it, then run this again.",
    ),
)
