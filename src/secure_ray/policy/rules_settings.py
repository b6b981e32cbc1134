"""Errors about settings, the command line and files for other systems."""

from __future__ import annotations

from secure_ray.policy.rules import failure

SETTINGS_RULES = (
    failure(
        "SR-CFG-001",
        "a setting that does not exist, or not in this place",
        "A misspelt setting would leave you believing that it works, so it is refused. Some "
        "variables (SECURE_RAY_HOME) are read before .env and have no effect in it.",
        "Take the name that the message offers. `secure-ray config init` writes a file with "
        "every setting; `secure-ray config check` names all problems.",
    ),
    failure(
        "SR-CFG-002",
        "a setting with a value that it cannot have",
        "A value that is guessed or dropped in silence protects nobody.",
        "Write what the message asks for, then: secure-ray config check.",
    ),
    failure(
        "SR-CFG-003",
        "a settings file cannot be parsed",
        "Half a file of settings is not used, because the other half may hold a protection.",
        "Correct the line named, then: secure-ray config check.",
    ),
    failure(
        "SR-CFG-004",
        "a settings or advisory file cannot be read",
        "A file that was asked for by name and left out in silence would change what is protected.",
        "Correct --config or SECURE_RAY_CONFIG, or begin one: secure-ray config init.",
    ),
    failure(
        "SR-CFG-005",
        "somebody else can write to a file that decides about security",
        "They could put overrides and variables into it that open the cluster.",
        "Read it first; then chown it to yourself or chmod go-w it, or give a copy of your own "
        "with --config.",
    ),
    failure(
        "SR-CFG-006",
        "a file to be written is there already",
        "What you may have edited is never overwritten.",
        "Move it away, or choose another place: secure-ray config init --path FILE, "
        "secure-ray deploy systemd --output DIR.",
    ),
    failure(
        "SR-CFG-010",
        "SECURE_RAY_HOME is not an absolute path",
        "A relative one would mean another cluster in each directory.",
        "export SECURE_RAY_HOME=/a/directory/of/yours",
    ),
    failure(
        "SR-CFG-011",
        "a cluster name that cannot be one",
        "The name becomes the name of a directory and of a systemd unit.",
        "Use 1 to 32 lower-case letters, digits and hyphens, with no hyphen at either end.",
    ),
    failure(
        "SR-CFG-012",
        "`up` is told neither or both of --head and --join",
        "A node is a head or a worker. Only a worker that has joined before needs neither.",
        "secure-ray up --head, or secure-ray up --join - with the string that secure-ray "
        "join-token create prints on the head.",
    ),
    failure(
        "SR-CFG-013",
        "--resources is not a JSON object",
        "Mostly the shell has eaten the quotes.",
        """secure-ray up --head --resources '{"name": 2}'""",
    ),
    failure(
        "SR-CFG-014",
        "removing a cluster needs consent",
        "There is no terminal to ask at, and its keys, token and logs do not come back.",
        "secure-ray reset --yes",
    ),
    failure(
        "SR-CFG-015",
        "`run` without a command",
        "It needs a program to run inside the cluster's environment.",
        "secure-ray run -- python script.py",
    ),
    failure(
        "SR-CFG-016",
        "the command after `run --` cannot be run",
        "It is not installed, not on PATH, or not executable.",
        "Try it without secure-ray; give its whole path.",
    ),
    failure(
        "SR-CFG-017",
        "`up --head` where a worker is",
        "This directory holds what makes this host a node of another head's cluster; a head would "
        "replace it.",
        "secure-ray up starts the worker; for a head beside it: secure-ray up --head --cluster "
        "NAME; to give the worker up first: secure-ray reset.",
    ),
    failure(
        "SR-CFG-018",
        "`down --drain` on a head",
        "The control store is on the head: when it ends, so does the work of all nodes, and Ray "
        "cannot move it elsewhere.",
        "Let the work end, then: secure-ray down. To empty a worker, on the head: secure-ray node "
        "drain NAME.",
    ),
    failure(
        "SR-CFG-019",
        "`up --join` with --dry-run",
        "A worker's name and ports are the head's to give, and joining spends the string: there is "
        "no plan to print before.",
        "secure-ray up --join -; once it has joined, secure-ray up --dry-run prints its plan.",
    ),
    failure(
        "SR-CFG-020",
        "a worker is to listen elsewhere than where it reaches its head from",
        "A worker's address is the one that the head sees, which its certificate bears: network.bind "
        "cannot choose another one.",
        "Leave --bind and network.bind out on a worker; or give a route to the head by that "
        "address (ip route get HEAD shows the one taken).",
    ),
    failure(
        "SR-CFG-021",
        "`[store] kind` and `[redis]` do not fit together",
        "A Redis that is set and not used, or used and not set, is not what was meant.",
        'Set redis.address and leave store.kind at "auto"; or take [redis] out.',
    ),
    failure(
        "SR-CFG-022",
        "the file of the Redis password holds none",
        "It should be one line without spaces: what cannot be handed over as it is would be refused "
        "by Redis, or read as something else.",
        "Write the password into it, and nothing else; chmod 0600.",
    ),
    failure(
        "SR-CFG-025",
        "a path is not UTF-8",
        "The record of a cluster, Ray and its logs are UTF-8; Linux lets a path hold any bytes.",
        "Use a directory whose name is UTF-8: export SECURE_RAY_HOME=/a/directory/of/yours, or start "
        "from another working directory.",
    ),
    failure(
        "SR-CLI-001",
        "the command line cannot be understood",
        "An option or argument is unknown, missing or of the wrong kind.",
        "secure-ray --help lists the commands, secure-ray COMMAND --help the options.",
    ),
    failure(
        "SR-CLI-002",
        "a bug of secure-ray",
        "Only its kind and place are shown: the message itself could hold a secret.",
        "Run it again with SECURE_RAY_TRACEBACK=1, read whether what it shows may be shared, and "
        "report it.",
    ),
    failure(
        "SR-CLI-003",
        "no rule or error of that name",
        "Perhaps it is misspelt, or of another version of secure-ray.",
        "secure-ray explain lists all of them.",
    ),
    failure(
        "SR-CFG-023",
        "two ways to rotate were asked for at once",
        "--resume goes on with what an earlier run began, --rollback takes it back, --ca begins "
        "something new.",
        "Give one of them.",
    ),
    failure(
        "SR-CFG-024",
        "this is a worker, and only the head knows all certificates",
        "The head issues them, and it alone can tell what every node shows.",
        "Run it on the head.",
    ),
    failure(
        "SR-DEPLOY-001",
        "a value cannot stand in a systemd unit",
        "systemd gives quotes, backslashes, dollar signs and line breaks a meaning of their own; "
        "such a value could run something else.",
        "Give plain names and absolute paths: secure-ray deploy systemd --help.",
    ),
    failure(
        "SR-DEPLOY-002",
        "the unit would run Ray as root",
        "Whatever the jobs contain would own the host.",
        "useradd --create-home ray, then: secure-ray deploy systemd --user ray",
    ),
    failure(
        "SR-DEPLOY-003",
        "the user has no name to put into the unit",
        "The list of users has no entry for it, as for the user of many a container; systemd starts "
        "a service for an account.",
        "Give the account that Ray shall run as: secure-ray deploy systemd --user ray",
    ),
)
