"""Rules about data, logs and limits."""

from __future__ import annotations

from secure_ray.policy.rules import Rule, Severity

_NO = False
_YES = True

DATA_RULES = (
    Rule(
        "SR-DATA-001",
        "a Redis password would be given to Ray",
        "Ray puts it on the command line of gcs_server, where every user of the host reads it "
        "(CVE-2025-1979 and after).",
        "Name a file with it in `[redis] password_file`; it then gets to Ray on no command line.",
        _NO,
        Severity.HIGH,
    ),
    Rule(
        "SR-DATA-002",
        "the control store would live in a Redis that is not encrypted",
        "It holds functions as pickles and jobs' variables: who can write there runs code.",
        "Use a rediss:// address in `[redis]`, with a CA and a password or a client certificate; or "
        "no Redis: Ray's own store is the default.",
        _YES,
        Severity.CRITICAL,
    ),
    Rule(
        "SR-DATA-003",
        "Ray's files or objects would lie outside the private tree",
        "Ray makes its directories 0777 and writes objects and state unencrypted; only "
        "secure-ray's 0700 tree keeps other users out.",
        "Drop it; `SECURE_RAY_HOME` moves the whole tree.",
        _YES,
        Severity.HIGH,
    ),
    Rule(
        "SR-DATA-004",
        "data about the cluster would go to a third party",
        "Reports name nodes, jobs and what runs in them.",
        "Drop it.",
        _YES,
        Severity.MEDIUM,
    ),
    Rule(
        "SR-DATA-005",
        "secrets of jobs would be shown",
        "Jobs' variables hold credentials; Ray would show them in the dashboard or hand the "
        "dashboard's files through links.",
        "Drop it.",
        _YES,
        Severity.MEDIUM,
    ),
    Rule(
        "SR-DATA-006",
        "a credential would be in the environment of every job",
        "Every task and job inherits it, and it can be read in /proc.",
        "Let the job read it from a 0600 file.",
        _YES,
        Severity.HIGH,
    ),
    Rule(
        "SR-DATA-007",
        "the control store would live in a Redis that anybody may use",
        "Whoever can write there runs code in the cluster, and on loopback that is every user of "
        "this host.",
        "Have Redis ask for a password or a client certificate, and give it: `[redis] "
        "password_file`, or cert_file and key_file.",
        _NO,
        Severity.CRITICAL,
    ),
    Rule(
        "SR-LOG-001",
        "logs would hold secrets",
        "At this level or with this export Ray writes arguments and variables of jobs.",
        "Use `[logging] level` with info, warning or error.",
        _YES,
        Severity.MEDIUM,
    ),
    Rule(
        "SR-LOG-002",
        "logs would leave the private directory",
        "Output that Ray does not redirect ends in the journal or in a driver's output, where "
        "other users read it.",
        "Drop it; logs lie in secure-ray's 0700 tree.",
        _YES,
        Severity.LOW,
    ),
    Rule(
        "SR-LIMIT-001",
        "more CPUs than this process may use",
        "Ray would run more tasks at once than the host or its container can carry.",
        "Ask for fewer (--num-cpus, limits.num_cpus), or leave it out to get what is usable.",
        _YES,
        Severity.MEDIUM,
    ),
    Rule(
        "SR-LIMIT-002",
        "more GPUs than were found",
        "Ray accepts any number and hands out GPUs that do not exist; tasks then fail on them.",
        "Ask for fewer (--num-gpus, limits.num_gpus), or leave it out. `nvidia-smi -L` shows "
        "what the driver sees.",
        _YES,
        Severity.MEDIUM,
    ),
    Rule(
        "SR-LIMIT-003",
        "more memory than this process may use",
        "Tasks and objects together would run the node out of memory, and the kernel would pick "
        "what to kill.",
        "Lower limits.memory or limits.object_store_memory, or leave one out.",
        _YES,
        Severity.MEDIUM,
    ),
    Rule(
        "SR-LIMIT-004",
        "an object store that is too small",
        "Ray does not start with less than 75 MiB.",
        "Set limits.object_store_memory to at least 75MiB, or leave it out.",
        _NO,
        Severity.MEDIUM,
    ),
    Rule(
        "SR-LIMIT-005",
        "an object store that shared memory cannot hold",
        "Ray would keep the objects in a file on disk: slow, and outside of memory.",
        "Ask for less, or give more shared memory (df -h /dev/shm; docker run --shm-size=8g).",
        _YES,
        Severity.MEDIUM,
    ),
    Rule(
        "SR-LIMIT-006",
        "resource isolation that cannot work here",
        "It needs cgroup v2 and the right to change it. Ray would start half-way and stop.",
        'Set limits.resource_isolation to "auto"; secure-ray status then says why it is off.',
        _NO,
        Severity.MEDIUM,
    ),
    Rule(
        "SR-LIMIT-007",
        "a reserve for Ray's own processes that this host does not have",
        "With resource isolation Ray keeps at least 1 CPU and 500 MiB for itself, and does not start "
        "when that leaves none or is not there.",
        "Correct limits.system_reserved_cpu or limits.system_reserved_memory, or leave it out.",
        _NO,
        Severity.MEDIUM,
    ),
    Rule(
        "SR-LIMIT-020",
        "limits would be switched off",
        "One job could take the whole host.",
        "Set other limits instead of none.",
        _YES,
        Severity.MEDIUM,
    ),
)
