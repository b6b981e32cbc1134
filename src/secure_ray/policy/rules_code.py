"""Rules about the code that Ray runs."""

from __future__ import annotations

from secure_ray.policy.rules import Rule, Severity

_NO = False
_YES = True

CODE_RULES = (
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
