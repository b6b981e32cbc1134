"""Rules about who reaches Ray and what code it runs: network, authentication, TLS, code."""

from __future__ import annotations

from secure_ray.policy.rules import Rule, Severity

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
        "reads along can run code (CVE-2023-48022).",
        "Drop the option; open the dashboard on this host or through an SSH tunnel.",
        _YES,
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
    Rule(
        "SR-CODE-001",
        "named code would be imported into Ray's processes",
        "A hook is imported and called in processes that hold the token and the TLS key.",
        "Import it in your driver instead.",
        _YES,
        Severity.HIGH,
    ),
    Rule(
        "SR-CODE-002",
        "the loader or the interpreter would be steered",
        "A preloaded library or an extra module path runs inside every process of Ray, which hold "
        "the token and the TLS key.",
        "Install what you need into Ray's own Python environment.",
        _YES,
        Severity.HIGH,
    ),
    Rule(
        "SR-CODE-003",
        "a debugger would listen",
        "Ray's debuggers give a shell without authentication to whoever connects.",
        "Debug with `secure-ray run -- python -m pdb script.py`.",
        _YES,
        Severity.CRITICAL,
    ),
    Rule(
        "SR-CODE-004",
        "data files could run code when they are read",
        "It brings back remote code execution by a crafted Parquet or WebDataset file "
        "(CVE-2026-41486, CVE-2026-57516).",
        "Convert the file once, in a sandbox, to plain types.",
        _YES,
        Severity.CRITICAL,
    ),
    Rule(
        "SR-CODE-005",
        "profiling over HTTP would be on",
        "GET requests would attach py-spy or memray to processes; earlier Rays passed the "
        "arguments to a shell (CVE-2023-6019).",
        "Run py-spy on this host yourself.",
        _YES,
        Severity.MEDIUM,
    ),
    Rule(
        "SR-CODE-006",
        "a runtime environment would replace what Ray runs its workers in",
        "Its text goes to a shell unquoted, or workers start in a container with the host's "
        "network, process and IPC namespaces and every RAY_ variable on the command line.",
        "Install what the job needs into Ray's Python environment, or use pip/uv with plain "
        "requirements.",
        _YES,
        Severity.HIGH,
    ),
    Rule(
        "SR-CODE-007",
        "the cluster would be scaled by a file of commands",
        "The autoscaler runs the commands of that file with the cloud credentials of this user.",
        "Add nodes with secure-ray.",
        _NO,
        Severity.HIGH,
    ),
    Rule(
        "SR-CODE-008",
        "a test or development switch would be on",
        "Such switches delay, fail or bypass parts of Ray, and nobody reviews them for security.",
        "Unset it.",
        _NO,
        Severity.HIGH,
    ),
    Rule(
        "SR-CODE-009",
        "a job would change a reserved variable",
        "Variables of a runtime environment win over those of the node, and Ray filters none: a "
        "worker could lose its authentication, its TLS or its loader settings.",
        "Use another name, or leave it out.",
        _NO,
        Severity.HIGH,
    ),
    Rule(
        "SR-CODE-010",
        "code would come over plain HTTP, or an installer would get options",
        "Whoever sits on the path can change the code, and installer options choose index, "
        "certificate checks and build steps.",
        "Use https:// and plain requirements.",
        _YES,
        Severity.HIGH,
    ),
    Rule(
        "SR-CODE-011",
        "the driver would leave the protected path",
        "What Ray starts then is not what secure-ray planned and proved.",
        "Drop the argument.",
        _YES,
        Severity.MEDIUM,
    ),
)
