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
        f"Put pki/authority back from a copy. {_NEW_KEYS}",
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
        "Put root.key back where the error says, run the same command again, then take it off the "
        "machine again. For a root CA that is not ours: secure-ray certs csr, certs import. "
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
        "the link to the certificates in use does not lead to a generation beside it",
        "Key and certificate are swapped together by that link. secure-ray makes it in one form "
        "only, so somebody else made this one.",
        "Find out who changed it (ls -l), then point it at the last generation beside it: "
        "ln -sfn a0001 current in pki/authority, ln -sfn g0001 current in pki/node.",
    ),
    failure(
        "SR-PKI-009",
        "the lifetimes of the certificates do not fit into each other",
        "A certificate cannot outlive the CA that signed it, and below a minute clocks that "
        "differ a little would refuse it.",
        "Set pki.leaf_days (or leaf_life) to at most pki.issuing_days, and that to at most 3650; "
        "or leave them out.",
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
    failure(
        "SR-PKI-014",
        "the root CA is being rotated, and an issuing CA that this needs cannot be used",
        "Meanwhile two authorities are here. A file of one was damaged or removed, or it has "
        "expired because the rotation stood still for long. None is made in its place: nodes "
        "hold certificates of it.",
        "Put pki/authority back from a copy, or take the rotation back: "
        "secure-ray rotate-certs --rollback.",
    ),
    failure(
        "SR-PKI-015",
        "the rotation of the root CA is at another step",
        "Nodes that are two steps apart refuse each other, so no step may be left out, and nothing "
        "else may change the authorities meanwhile.",
        "Finish or undo the rotation first: secure-ray rotate-certs --resume, or --rollback.",
    ),
    failure(
        "SR-PKI-016",
        "a new authority does not stand its test",
        "Before it counts it is read back from the disk, its keys are opened, and a leaf of it is "
        "tried. The disk does not give back what was written.",
        "Nothing has changed. Check the disk (dmesg, df), then run it again.",
    ),
    failure(
        "SR-PKI-017",
        "the certificate of an issuing CA cannot be taken into use",
        "It came from somebody else's CA and is not what the cluster needs: for the key that waits "
        "here, a CA for leaves only, valid now, signed by the root given, and permitting the names "
        "of the nodes.",
        "Have the request signed once more, as it asks (secure-ray certs csr); the message names "
        "all that is wrong.",
    ),
    failure(
        "SR-PKI-018",
        "no key waits for the certificate of an issuing CA",
        "Its key is made together with the request and never leaves the head; the certificate of "
        "another key is of no use here.",
        "secure-ray certs csr makes a key and a request; have that signed, then import it.",
    ),
    failure(
        "SR-PKI-019",
        "the root key is not taken off the machine",
        "The copy lies where the key is now, or does not open with the copy of the passphrase. The "
        "key is removed from here only after the copy has been tried.",
        "Name a directory on another medium.",
    ),
)
