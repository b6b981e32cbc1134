"""Rules about who reaches Ray: network, authentication, TLS."""

from __future__ import annotations

from secure_ray.policy.rules import Rule, Severity, failure

_NO = False
_YES = True

ACCESS_RULES = (
    Rule(
        "SR-NET-001",
        "a socket would listen on every interface",
        "Whoever can route to this host could talk to Ray. No reason is good enough for that, so "
        "this rule has no override.",
        "Leave the address out; people reach the cluster on this host.",
        _NO,
        Severity.CRITICAL,
    ),
    Rule(
        "SR-NET-002",
        "the dashboard would listen beyond loopback",
        "It is plain HTTP and carries the cluster token with each request; whoever reaches it or "
        "reads along can run code (CVE-2023-48022). The proof would stop such a start anyway, so "
        "this rule has no override.",
        "Drop the option; open the dashboard on this host or through an SSH tunnel.",
        _NO,
        Severity.CRITICAL,
    ),
    Rule(
        "SR-NET-003",
        "the node would advertise an address beyond loopback",
        "With any address but loopback, Ray's gRPC servers listen on every interface.",
        "Drop the option; in local mode the node is 127.0.0.1.",
        _NO,
        Severity.CRITICAL,
    ),
    Rule(
        "SR-NET-004",
        "Ray Client would be used",
        "Its server is one more door that takes pickled code, and its client hands the token to "
        "whatever answers.",
        "Run the driver on this host: `secure-ray run -- python script.py`.",
        _NO,
        Severity.HIGH,
    ),
    Rule(
        "SR-NET-005",
        "a proxy would stand between the cluster's processes",
        "It would see the cluster token: Ray's HTTP is plain and carries it with each request.",
        "Unset the proxy for Ray. What your job downloads can take its proxy in its own code.",
        _YES,
        Severity.HIGH,
    ),
    Rule(
        "SR-NET-006",
        "Ray Serve would open an unauthenticated door",
        "Serve's HTTP and gRPC proxies ask for no token, and HAProxy mode makes an admin socket "
        "that every local user may write to.",
        "Leave Serve on its loopback default and put an authenticating proxy in front.",
        _YES,
        Severity.HIGH,
    ),
    Rule(
        "SR-NET-007",
        "a client would be sent to another cluster",
        "It attaches this cluster's token to every request, whoever answers.",
        "Drop it; `secure-ray run` and `secure_init()` set the address of the cluster here.",
        _NO,
        Severity.HIGH,
    ),
    Rule(
        "SR-NET-008",
        "a metrics exporter would be opened",
        "Exporters are plain HTTP and ask for no token: every user of the host can read the names "
        "of jobs and nodes.",
        "Use `[metrics] enabled = true`, which keeps them on loopback and on planned ports.",
        _YES,
        Severity.MEDIUM,
    ),
    failure(
        "SR-NET-011",
        "a port is taken",
        "Another program has a port that you chose. A cluster on other ports than you asked for "
        "would be one that nobody finds, so none is started.",
        "See who has it (ss -ltnp), stop it, or choose another [ports] setting; without one "
        "secure-ray finds free ports.",
    ),
    failure(
        "SR-NET-012",
        "no block of free ports",
        "Each cluster takes a block of neighbouring ports; other clusters or programs have one "
        "in every block that was tried.",
        "Stop a cluster that you do not need (secure-ray down --cluster NAME), or set ports.base.",
    ),
    failure(
        "SR-NET-013",
        "a port of the cluster is taken on this worker",
        "All nodes of a cluster have the same ports, those that the head chose; this host uses "
        "one of them for something else.",
        "Stop what has it (ss -ltnp). Otherwise choose another block for all: on the head, set "
        "ports.base, then secure-ray down, secure-ray up --head, and join again.",
    ),
    failure(
        "SR-NET-014",
        "a socket of secure-ray's own cannot be opened",
        "In private mode the supervisor listens on the node's address too: its relay, and on a head "
        "the door for nodes. The address is gone from this host, or a port has been taken since it "
        "was found free.",
        "Compare ip address with what secure-ray status shows; then start it again.",
    ),
    Rule(
        "SR-AUTH-001",
        "token authentication would be off",
        "Ray takes every unknown value of its mode, typing errors too, as `disabled` and says "
        "nothing (measured on Ray 2.60.0).",
        "Drop it: secure-ray sets RAY_AUTH_MODE=token.",
        _NO,
        Severity.CRITICAL,
    ),
    Rule(
        "SR-AUTH-002",
        "the cluster token would be given by value or from elsewhere",
        "A token in an environment is inherited by every job and can be read in /proc; a token "
        "file of unknown owner and mode may be known to others.",
        "Drop it: secure-ray makes the token and hands Ray its path.",
        _NO,
        Severity.CRITICAL,
    ),
    Rule(
        "SR-AUTH-003",
        "another authentication would replace the token",
        "Outside Kubernetes nothing validates such a token, and cached decisions outlive it.",
        "Drop it.",
        _NO,
        Severity.HIGH,
    ),
    Rule(
        "SR-AUTH-004",
        "the cluster-id check would be off",
        "A process of another cluster could talk to this one by mistake or on purpose.",
        "Drop it: secure-ray keeps the check on.",
        _NO,
        Severity.HIGH,
    ),
    Rule(
        "SR-TLS-001",
        "mutual TLS would be off",
        "Ray turns TLS on for `1` and `true` only; with any other value all gRPC is plaintext "
        "without a warning.",
        "Drop it: secure-ray sets RAY_USE_TLS=1.",
        _NO,
        Severity.CRITICAL,
    ),
    Rule(
        "SR-TLS-002",
        "Ray would use keys or a CA that secure-ray did not make",
        "Whoever holds a certificate of the CA that Ray trusts may join as a node; Ray checks "
        "neither host name nor role nor revocation.",
        "Drop it: secure-ray makes a CA and a leaf for this cluster alone.",
        _NO,
        Severity.CRITICAL,
    ),
)
