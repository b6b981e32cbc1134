"""What the proof after a start and `secure-ray audit` look for, and why they could not look."""

from __future__ import annotations

from secure_ray.policy.rules import Rule, Severity, failure

# What somebody may have read stays known until it is made anew.
_NEW_SECRETS = (
    "then make new keys and a new token: secure-ray down, secure-ray reset, secure-ray up --head."
)


def _proof(code: str, severity: Severity, title: str, why: str, fix: str) -> Rule:
    return Rule(code, title, why, fix, overridable=False, severity=severity)


AUDIT_RULES = (
    _proof(
        "SR-AUDIT-000",
        Severity.CRITICAL,
        "the cluster is not as planned, so it was stopped again",
        "After each start secure-ray looks at the live sockets, files and processes. A check "
        "failed or could not be made, and a Ray that is not proven does not stay up.",
        "Look up each SR-AUDIT code that the message names (secure-ray explain SR-AUDIT-001), "
        "remove its cause, then: secure-ray up --head.",
    ),
    _proof(
        "SR-AUDIT-001",
        Severity.CRITICAL,
        "a process listens where it was not told to",
        "Whoever can route to that address can knock. Ray runs code for whoever gets in "
        "(CVE-2023-48022), and a socket that a job opened asks for no token at all.",
        "secure-ray down. If a job opened the socket, bind it to 127.0.0.1 in the job's code; if "
        "Ray did, report it with `ss -ltnp`.",
    ),
    _proof(
        "SR-AUDIT-002",
        Severity.HIGH,
        "a process listens on a port that is not on the plan",
        "Nobody has looked at what answers there: a debugger, a server of a job's own, or the "
        "back door of somebody who got in. Other users of this host can reach it.",
        "Find it with `ss -ltnup`. If it is a job's, let it use a port of the worker range "
        "(secure-ray status) or end the job; if nobody knows it: secure-ray down.",
    ),
    _proof(
        "SR-AUDIT-003",
        Severity.HIGH,
        "a planned component does not listen on its port",
        "It has died or never started. Until it is back, any user of this host can take the port "
        "and is sent the cluster token by whoever connects.",
        "See who has the port (ss -ltnp) and read the component's log in the logs directory of "
        "Ray's session; then secure-ray down, secure-ray up --head.",
    ),
    _proof(
        "SR-AUDIT-010",
        Severity.CRITICAL,
        "gRPC lets in a client without TLS",
        "Tasks, objects and the token pass in the clear, and no certificate is asked for: the "
        "token alone is left. Ray turns TLS off for any value but `1` and `true`, silently.",
        "secure-ray down, secure-ray up --head. If it comes back, something sets RAY_USE_TLS "
        "behind secure-ray: look for it with `grep -z RAY_USE_TLS /proc/PID/environ`.",
    ),
    _proof(
        "SR-AUDIT-011",
        Severity.CRITICAL,
        "gRPC lets in a client without a certificate",
        "TLS is on, but not mutual: every process that reaches the port is one token away from "
        "running code.",
        "secure-ray down, secure-ray up --head. If it comes back, this Ray is not what it says: "
        "install a release (pip install --force-reinstall 'ray[default]').",
    ),
    _proof(
        "SR-AUDIT-012",
        Severity.CRITICAL,
        "gRPC lets in a certificate of another CA",
        "Anybody can make a CA and a certificate in a minute, and with it pass for a node that is "
        "sent tasks and data. Ray compares neither names nor roles: only the CA keeps strangers "
        "out.",
        "secure-ray down, secure-ray up --head. If it comes back, look for another RAY_TLS_CA_CERT "
        "in /proc/PID/environ and for a second certificate in ca.crt; secure-ray down, secure-ray "
        "reset, secure-ray up --head make new keys.",
    ),
    _proof(
        "SR-AUDIT-013",
        Severity.CRITICAL,
        "gRPC answers a call that has no token or a wrong one",
        "Whoever has a certificate of the cluster can push tasks, which are code, to any worker. "
        "Ray takes every unknown RAY_AUTH_MODE for `disabled`, silently.",
        "secure-ray down, secure-ray up --head. If it comes back, something sets RAY_AUTH_MODE "
        "behind secure-ray: look for it with `grep -z RAY_AUTH_MODE /proc/PID/environ`.",
    ),
    _proof(
        "SR-AUDIT-014",
        Severity.CRITICAL,
        "the relay or the door for nodes talks to a client without TLS",
        "Whatever answers there is not secure-ray, or has lost its encryption: requests with the "
        "cluster token in them cross the network in the clear.",
        "secure-ray down, then see who has the port: ss -ltnp. Then secure-ray up --head (on a "
        "worker: secure-ray up).",
    ),
    _proof(
        "SR-AUDIT-015",
        Severity.CRITICAL,
        "the relay or the door for nodes serves a client without a certificate",
        "Through the relay every host of the network reaches the job agent and the dashboard, one "
        "token away from running code; through the door it learns who is in the cluster.",
        "secure-ray down, then see who has the port: ss -ltnp. Then secure-ray up --head (on a "
        "worker: secure-ray up); if it comes back, report it.",
    ),
    _proof(
        "SR-AUDIT-016",
        Severity.CRITICAL,
        "the relay or the door for nodes takes a certificate of another CA",
        "Anybody can make a CA and a certificate in a minute, and with it pass for a node.",
        "secure-ray down, look for a second certificate in ca.crt, then secure-ray up --head (on "
        "a worker: secure-ray up); if it comes back, report it.",
    ),
    _proof(
        "SR-AUDIT-020",
        Severity.CRITICAL,
        "HTTP answers a request without the token",
        "One POST to the Jobs API runs a shell command: ShadowRay, CVE-2023-48022. A web page in "
        "a browser on this host can send it too (CVE-2025-62593).",
        "secure-ray down at once, and look for jobs that are not yours; then secure-ray up "
        "--head. If it comes back, something sets RAY_AUTH_MODE behind secure-ray.",
    ),
    _proof(
        "SR-AUDIT-021",
        Severity.CRITICAL,
        "HTTP answers a request with a wrong token",
        "Any text passes for the token, so there is none: one POST to the Jobs API runs a shell "
        "command (CVE-2023-48022).",
        "secure-ray down at once, and look for jobs that are not yours; then secure-ray up "
        "--head. If it comes back, something sets RAY_AUTH_MODE behind secure-ray.",
    ),
    _proof(
        "SR-AUDIT-030",
        Severity.CRITICAL,
        "a state directory is open to others",
        "Who can enter it reads the token and the node's key; who can write to it, or to a "
        "directory above it, swaps them. Either way the cluster is theirs.",
        f"Find out who opened it (ls -ld PATH), chmod 0700 PATH, {_NEW_SECRETS}",
    ),
    _proof(
        "SR-AUDIT-031",
        Severity.HIGH,
        "something in a state directory is open to others, or a link leads out of it",
        "Should the directory above be opened by mistake, nothing else protects it. A planted "
        "link makes Ray or secure-ray read or write elsewhere.",
        "Find out who made it so (ls -l PATH); then chmod go-rwx PATH, or remove the link.",
    ),
    _proof(
        "SR-AUDIT-032",
        Severity.CRITICAL,
        "the private key or the token can be read by others",
        "With the token an attacker runs code through HTTP; with the key they pass for a node.",
        f"chmod 0600 PATH, {_NEW_SECRETS}",
    ),
    _proof(
        "SR-AUDIT-033",
        Severity.CRITICAL,
        "Ray's session directory is not closed off",
        "Ray opens all below it to everybody: other users of this host could read logs and "
        "objects, and connect to the sockets or replace them.",
        "secure-ray down, find out who opened the directory (ls -ld PATH), chmod 0700 PATH, "
        "secure-ray up --head.",
    ),
    _proof(
        "SR-AUDIT-034",
        Severity.HIGH,
        "a Unix socket is within reach of others",
        "Ray's own sockets ask for no token: who can connect to one submits jobs. A socket "
        "outside of the private directories, or an abstract one, is open to every user.",
        "Find its owner with `ss -lxp`. If a job opened it, make it below a 0700 directory; if "
        "Ray did: secure-ray down, secure-ray up --head.",
    ),
    _proof(
        "SR-AUDIT-040",
        Severity.CRITICAL,
        "the cluster token stands in a process's arguments or environment",
        "Arguments can be read by every user (ps aux), an environment by this user's other "
        "programs and each child. Who has the token runs code in the cluster.",
        "End the process, give it the path of the token instead (RAY_AUTH_TOKEN_PATH, as "
        f"`secure-ray run` does), {_NEW_SECRETS}",
    ),
    _proof(
        "SR-AUDIT-041",
        Severity.HIGH,
        "RAY_AUTH_TOKEN is set in a process of the cluster",
        "A token given by value is inherited by every job and wins over the one that secure-ray "
        "gives by path.",
        "unset RAY_AUTH_TOKEN where it is set (shell profile, .env, the job's code), then "
        "secure-ray down, secure-ray up --head.",
    ),
    _proof(
        "SR-AUDIT-042",
        Severity.CRITICAL,
        "the private key stands in a process's arguments or environment",
        "Arguments can be read by every user (ps aux). Who has the key passes for this node "
        "until the cluster has a new CA: Ray checks no revocation.",
        f"End the process, give it the path of the key instead, {_NEW_SECRETS}",
    ),
    _proof(
        "SR-AUDIT-050",
        Severity.HIGH,
        "a known advisory affects an installed package",
        "Ray's HTTP and gRPC servers are made of these packages, and how to attack them is "
        "public. The severity shown is that of the advisory.",
        "pip install --upgrade PACKAGE, as the finding says. The aiohttp inside Ray comes with a "
        "newer Ray: pip install --upgrade 'ray[default]'.",
    ),
    _proof(
        "SR-AUDIT-060",
        Severity.HIGH,
        "a rule is suspended by an override",
        "What the rule keeps out is let in until the override ends. It stays red, so that nobody "
        "forgets it.",
        "Remove it from [override] in the settings file, then: secure-ray down, secure-ray up --head.",
    ),
    failure(
        "SR-PROBE-001",
        "the sockets of a process cannot be read",
        "The kernel shows them to the process's own user and to root. What cannot be seen is not "
        "proven.",
        "Run it as the user who started the cluster.",
    ),
    failure(
        "SR-PROBE-002",
        "the kernel's table of sockets cannot be read",
        "Without it nobody can say what listens. Some containers and sandboxes hide /proc/net.",
        "Mount /proc without hiding /proc/net from this user: ls -l /proc/net/tcp shows it.",
    ),
)
