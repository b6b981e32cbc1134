"""Rules and errors about Ray itself: its options, its start, its version."""

from __future__ import annotations

from secure_ray.policy.rules import Rule, Severity, failure

_NO = False
_YES = True

RAY_RULES = (
    Rule(
        "SR-RAY-001",
        "an option of `ray start` that the policy does not know",
        "What it does to the protections has not been judged.",
        "Drop it, or list it in `allow_flags` once you have read what it does.",
        _NO,
        Severity.HIGH,
    ),
    Rule(
        "SR-RAY-002",
        "secure-ray sets this itself",
        "The plan, the ports and the proof after the start rest on it.",
        "Use the option or setting of secure-ray that the refusal names.",
        _NO,
        Severity.MEDIUM,
    ),
    Rule(
        "SR-RAY-003",
        "an argument of `ray.init` that the policy does not know",
        "What it does to the protections has not been judged.",
        "Drop it, or list it in `allow_flags` once you have read what it does.",
        _NO,
        Severity.HIGH,
    ),
    Rule(
        "SR-RAY-004",
        "a `_system_config` key that the policy does not know",
        "These keys win over every variable that secure-ray sets.",
        "Drop it, or list it in `allow_flags` once you have read what it does.",
        _NO,
        Severity.HIGH,
    ),
    Rule(
        "SR-RAY-005",
        "a value that cannot be read",
        "What cannot be read cannot be judged.",
        "Write a JSON object or a dictionary with text keys.",
        _NO,
        Severity.HIGH,
    ),
    Rule(
        "SR-RAY-006",
        "an override that has ended",
        "Overrides are for a time; the protection is due again.",
        "Remove it from `[override]`, or set a new end with a reason.",
        _NO,
        Severity.MEDIUM,
    ),
    Rule(
        "SR-RAY-007",
        "an override for a rule that has none",
        "Authentication, mutual TLS and what else holds the cluster together is not negotiable.",
        "Remove it from `[override]`. For a Ray with an advisory, name the advisory.",
        _NO,
        Severity.HIGH,
    ),
    Rule(
        "SR-RAY-008",
        "an override that names no rule",
        "A misspelt override would leave you believing that it works.",
        "Compare the name with docs/policy.md.",
        _NO,
        Severity.MEDIUM,
    ),
    failure(
        "SR-RAY-009",
        "words after `--` that are not options of `ray start`",
        "Only whole options can be compared with the policy.",
        "Write each as --name=value; `ray start --help` lists them.",
    ),
    failure(
        "SR-RAY-010",
        "`ray start` ended before Ray was ready",
        "The message holds the last thing that Ray said about it.",
        "Read supervisor.log in the cluster's directory, remove the cause, then: "
        "secure-ray up --head.",
    ),
    failure(
        "SR-RAY-011",
        "Ray was not ready in time",
        "The host is too busy, too small, or a part of Ray waits for something that never comes.",
        "Free CPU or memory, or raise start.timeout_seconds; supervisor.log in the cluster's "
        "directory says how far it came.",
    ),
    failure(
        "SR-RAY-012",
        "Ray died while it ran",
        "One of its own processes failed or was killed. Nothing is restarted in silence: jobs "
        "and objects in memory are lost.",
        "secure-ray status says which part; its log lies in the logs directory of Ray's session. "
        "secure-ray up --head starts it again.",
    ),
    failure(
        "SR-RAY-020",
        "the address is not the secure cluster of this machine",
        "ray.init would hand this cluster's token to whatever answers there.",
        'secure_init(address="auto") joins the cluster that runs here.',
    ),
    failure(
        "SR-RAY-021",
        "ray was imported before secure_init, with token authentication off",
        "Ray reads its configuration when it is imported, and this one does not read it again.",
        "Call secure_init before the first `import ray`, or use: secure-ray run -- python "
        "script.py",
    ),
    failure(
        "SR-RAY-022",
        "ray was imported before secure_init, and cannot be configured afterwards",
        "This version of Ray does not have the places where the configuration is read again.",
        "Call secure_init before the first `import ray`, or use: secure-ray run -- python "
        "script.py",
    ),
    failure(
        "SR-RAY-023",
        "the program is connected already, to a Ray that secure-ray did not start",
        "secure_init would hand out that Ray as if it were hardened.",
        "Call ray.shutdown() before secure_init, or secure_init instead of ray.init.",
    ),
    failure(
        "SR-RAY-030",
        "Ray does not answer about its nodes",
        "The control store is on the head. It has stopped, cannot be reached from here, or takes "
        "this node's certificate or token for a stranger's.",
        "secure-ray status here and on the head; supervisor.log in the cluster's directory says "
        "when the head was lost.",
    ),
    failure(
        "SR-RAY-031",
        "a drained node still has work",
        "Ray gives it nothing new, but running tasks go on, and a live actor keeps the node. "
        "Nothing is stopped by force.",
        "Run it again to go on waiting; ray list actors --filter state=ALIVE shows what is left.",
    ),
    failure(
        "SR-RAY-032",
        "a node is told to drain, but Ray does not say whether it still has work",
        "The order stands, and the node follows it with its next heartbeat; Ray's control store "
        "did not answer.",
        "Run it again to wait for the node's work; secure-ray node drain NAME --undo takes the "
        "order back.",
    ),
    Rule(
        "SR-VER-001",
        "a Ray without token authentication",
        "Before 2.52.1 every caller that reaches Ray can run code.",
        "pip install 'ray[default]>=2.56'",
        _NO,
        Severity.CRITICAL,
    ),
    Rule(
        "SR-VER-002",
        "a Ray with a known vulnerability",
        "The advisory names how it is attacked.",
        "Install a fixed Ray; or, for a time, name each advisory (not this rule) in `[override]`.",
        _NO,
        Severity.CRITICAL,
    ),
    Rule(
        "SR-VER-003",
        "a version that cannot be read",
        "It cannot be compared with the advisories.",
        "Install a release of Ray from PyPI.",
        _NO,
        Severity.HIGH,
    ),
    Rule(
        "SR-VER-004",
        "an override for an advisory has ended",
        "Overrides are for a time.",
        "Install a fixed Ray, or set a new end with a reason.",
        _NO,
        Severity.HIGH,
    ),
    Rule(
        "SR-VER-005",
        "private mode on a Ray whose node agent asks for no token",
        "Before 2.54 whoever reaches the agent's HTTP port runs code. In local mode secure-ray "
        "keeps that port closed; in private mode the agent would take another loopback address "
        "and be open to every user of this host.",
        "pip install --upgrade 'ray[default]'; or stay on this machine: --bind local.",
        _NO,
        Severity.CRITICAL,
    ),
    Rule(
        "SR-VER-007",
        "the RocksDB store on a Ray that has none",
        "Ray has it since 2.57.1; an older one would keep its state in memory without a word.",
        'pip install --upgrade \'ray[default]\'; or `[store] kind` with "auto" or "memory".',
        _NO,
        Severity.MEDIUM,
    ),
    failure(
        "SR-VER-006",
        "an advisory file that cannot be read",
        "Without it known vulnerabilities would go unnoticed.",
        "Give an OSV file in JSON; docs/advisories.md tells where to get one.",
    ),
    failure(
        "SR-VER-010",
        "Ray is not installed for this Python",
        "secure-ray starts the Ray of the Python environment that it is installed in.",
        "pip install 'ray[default]', with the pip beside secure-ray.",
    ),
)
