"""Errors about files, the state of a cluster, and its supervisor."""

from __future__ import annotations

from secure_ray.policy.rules import failure

STATE_RULES = (
    failure(
        "SR-FILE-001",
        "a path is a link or something other than it should be",
        "A link in a trusted place may have been planted to make us read or write elsewhere, so "
        "it is never followed.",
        "Find out who made it (ls -ld PATH), then remove it.",
    ),
    failure(
        "SR-FILE-002",
        "a file or directory is not ours, or open to others",
        "Whoever owns it or may read it has what it protects: keys, the token, the state.",
        "Run as its owner; if nobody else has touched it, chmod go-rwx PATH.",
    ),
    failure(
        "SR-FILE-003",
        "somebody else can swap a directory above a trusted path",
        "Who may write to a directory may rename what lies in it, private or not.",
        "chmod go-w the directory named, or set SECURE_RAY_HOME to a directory of yours.",
    ),
    failure(
        "SR-FILE-004",
        "a file cannot be read or written",
        "Without its state secure-ray does not start anything.",
        "Check owner, mode and mount of the directory named, or set SECURE_RAY_HOME.",
    ),
    failure(
        "SR-FILE-005",
        "a file is larger than it can be",
        "Reading it whole could take all memory; nothing that secure-ray writes gets that large.",
        "Remove it and try again.",
    ),
    failure(
        "SR-FILE-006",
        "no space left, or less than Ray needs",
        "Ray writes logs and spilled objects and dies on a full disk. Nothing was half written; "
        "what was there before is unchanged.",
        "Free space or quota on the file system named (df -h PATH), or lower limits.min_free_disk.",
    ),
    failure(
        "SR-STATE-001",
        "cluster.json is not the record of a cluster",
        "It says which processes and directories are the cluster's own; it was damaged or edited.",
        "Put it back from a copy. If there is none: remove it, then secure-ray reset, "
        "secure-ray up --head.",
    ),
    failure(
        "SR-STATE-002",
        "no short directory for sockets can be made",
        "The path of a Unix socket ends at 107 bytes (103 on macOS), and that of the state is too "
        "long, or has spaces or letters beyond ASCII.",
        "Make /tmp writable, or set SECURE_RAY_HOME to a short path of yours.",
    ),
    failure(
        "SR-STATE-003",
        "another secure-ray command is working on this cluster",
        "Two at once would stop or overwrite what the other has just made.",
        "Wait for it to end, then run this again. `pgrep -af secure-ray` shows it.",
    ),
    failure(
        "SR-STATE-004",
        "the cluster is not running",
        "It was never started, was stopped, or has failed; secure-ray status says which.",
        "secure-ray up --head, with --cluster NAME for another cluster than the default one.",
    ),
    failure(
        "SR-STATE-005",
        "the supervisor does not answer",
        "It ended just now, hangs, or the host is too busy.",
        "Run it again. If that does not help: secure-ray down, secure-ray up --head.",
    ),
    failure(
        "SR-STATE-006",
        "the cluster has a supervisor already",
        "Two would both start Ray and stop each other's.",
        "secure-ray status shows what runs; secure-ray down ends it.",
    ),
    failure(
        "SR-STATE-007",
        "the supervisor ended without a word",
        "It was killed, by the kernel for want of memory perhaps (dmesg), or could not start.",
        "Read supervisor.log in the cluster's directory, then secure-ray up --head again; it "
        "cleans up first.",
    ),
    failure(
        "SR-STATE-008",
        "the supervisor met a bug of secure-ray",
        "Ray is stopped rather than left alone.",
        "Please report it with supervisor.log from the cluster's directory.",
    ),
    failure(
        "SR-STATE-009",
        "the cluster is running, so it is not removed",
        "reset removes the keys, the token and the logs that it works with.",
        "secure-ray down, then secure-ray reset.",
    ),
    failure(
        "SR-STATE-010",
        "the record of a running cluster cannot be read",
        "Another version of secure-ray started it, or the file is damaged. Its ports, its token and "
        "what was proven of it are unknown to this version, so no program joins it.",
        "secure-ray down, then secure-ray up --head; or use the version that started it.",
    ),
    failure(
        "SR-STATE-011",
        "Ray is stopped, and its store in Redis is not cleared",
        "Redis did not answer. The next start would go on with what is there.",
        "Run secure-ray down again once Redis answers. Or give `[redis] namespace` another name: the "
        "old keys then stay there.",
    ),
    failure(
        "SR-STATE-012",
        "a node's Ray was stopped for a restart and has not come back",
        "What it failed at is told with it. On a head with a store nothing is lost by that: the next "
        "start goes on with it.",
        "secure-ray status says what failed; then secure-ray up --head, on a worker secure-ray up.",
    ),
    failure(
        "SR-STATE-013",
        "the start was stopped by somebody else",
        "secure-ray down ran meanwhile, or the supervisor got a signal to end. Ray is stopped in order.",
        "Run the same command again.",
    ),
    failure(
        "SR-STATE-014",
        "the running cluster is not what was asked for",
        "A cluster keeps what it was started with: limits, addresses, options and settings. `up` on one "
        "that runs changes nothing.",
        "secure-ray down, then the same command again. To leave it as it is: secure-ray status.",
    ),
)
