"""Errors about keys, certificates and the cluster token."""

from __future__ import annotations

from secure_ray.policy.rules import failure

# Nothing but the cluster's own state depends on the keys, so new ones are always a way out.
_NEW_KEYS = "If there is no copy: secure-ray reset, secure-ray up --head make new keys."

PKI_RULES = (
    failure(
        "SR-PKI-001",
        "the root CA is not valid yet by this clock",
        "The clock was set back after the keys were made; with it every certificate would be "
        "refused.",
        "Set the clock (timedatectl set-ntp true, or chronyc makestep) and run it again.",
    ),
    failure(
        "SR-PKI-002",
        "the root CA has expired by this clock",
        "All that it signed ends with it. It lives for ten years, so the clock may be wrong.",
        "Compare `date` with the real time. If the clock is right: secure-ray reset, "
        "secure-ray up --head make new keys.",
    ),
    failure(
        "SR-PKI-003",
        "the root CA's certificate is gone, but certificates that it issued are there",
        "A new root would make strangers of them, so none is made over their heads.",
        f"Put root.crt back from a copy. {_NEW_KEYS}",
    ),
    failure(
        "SR-PKI-004",
        "the root CA belongs to another cluster",
        "The directory was copied or restored from elsewhere, or cluster.json was removed. One "
        "root for two clusters would let each into the other.",
        "Put the directory, cluster.json included, back as it was. Or secure-ray reset, "
        "secure-ray up --head for new keys.",
    ),
    failure(
        "SR-PKI-005",
        "root.crt is not the certificate of a root CA",
        "It was damaged or replaced. What Ray trusts is never guessed.",
        f"Find out who changed it (ls -l), put it back from a copy. {_NEW_KEYS}",
    ),
    failure(
        "SR-PKI-006",
        "the root key is not here, and a new issuing CA needs it",
        "The root key may be kept off the machine; the issuing CA that works in its place has "
        "ended or cannot be used.",
        "Put root.key back, run secure-ray up --head, then take it off the machine again. "
        f"{_NEW_KEYS}",
    ),
    failure(
        "SR-PKI-007",
        "the root key cannot be opened",
        "The key is encrypted; its passphrase is missing, empty or of another key, or the key is "
        "not that of root.crt.",
        f"Put root.key and its passphrase back from one copy, and check pki.passphrase_file "
        f"(secure-ray config show). {_NEW_KEYS}",
    ),
    failure(
        "SR-PKI-008",
        "the link to the node's certificate does not lead to a generation beside it",
        "Key and certificate are swapped together by that link. secure-ray makes it in one form "
        "only, so somebody else made this one.",
        "Find out who changed it (ls -l), then remove the link; the next start makes a new one.",
    ),
    failure(
        "SR-PKI-009",
        "the lifetimes of the certificates do not fit into each other",
        "A certificate cannot outlive the CA that signed it, and below ten minutes clocks that "
        "differ a little would refuse it.",
        "Set pki.leaf_days to at most pki.issuing_days, and that to at most 3650; or leave them "
        "out.",
    ),
    failure(
        "SR-PKI-010",
        "a name is neither an IP address nor a DNS name",
        "It would stand in the node's certificate. Wildcards are not for a single node.",
        "Give addresses such as 127.0.0.1 and names such as localhost.",
    ),
    failure(
        "SR-PKI-011",
        "a file holds no certificate",
        "It was damaged or replaced.",
        "secure-ray up --head makes the node's certificate again. For root.crt: put it back from "
        "a copy.",
    ),
    failure(
        "SR-PKI-012",
        "the token file does not hold a cluster token",
        "secure-ray writes 64 hexadecimal digits and nothing else; anything else was put there "
        "by somebody, and is never overwritten.",
        "If nothing needs it, remove the file; secure-ray up --head makes a new token.",
    ),
    failure(
        "SR-PKI-013",
        "another process is changing the keys",
        "Two at once would each make a root. It takes less than a second, so the other one hangs "
        "or is stopped.",
        "Find it with `fuser -v` on the lock in the directory named, end it, run this again.",
    ),
)
