"""Environment variables that run code, open debuggers or switch on what is meant for tests."""

from __future__ import annotations

from secure_ray.policy.tables.rows import pin, refuse, scrub
from secure_ray.policy.values import ON, PLAIN_HTTP, other_than

_HOOKS = (
    *scrub(
        "RAY_START_HOOK",
        "RAY_RUNTIME_ENV_HOOK",
        "RAY_JOB_SUBMIT_HOOK",
        "RAY_CLUSTER_ACTIVITY_HOOK",
        "RAY_ON_SPARK_START_HOOK",
        "RAY_SERVE_CONTROLLER_CALLBACK_IMPORT_PATH",
        "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH",
        "__RAY_WORKER_PROCESS_SETUP_HOOK_ENV_VAR",
        "RAY_RUNTIME_ENV_PLUGINS",
        rule="SR-CODE-001",
        why="Ray imports the code that it names; a start hook may rewrite every parameter",
    ),
    *scrub(
        "RAY_SERVE_TRACING_EXPORTER_IMPORT_PATH",
        rule="SR-CODE-001",
        why="Ray imports the code that it names",
        versions=">=2.53",
    ),
)

_LOADER = scrub(
    "LD_PRELOAD",
    "LD_AUDIT",
    "LD_LIBRARY_PATH",
    "DYLD_INSERT_LIBRARIES",
    "DYLD_LIBRARY_PATH",
    "GCONV_PATH",
    "BASH_ENV",
    "RAY_LD_PRELOAD_ON_WORKERS",
    "PYTHONPATH",
    "PYTHONHOME",
    "PYTHONSTARTUP",
    "PYTHONUSERBASE",
    "PYTHONINSPECT",
    "PYTHONOPTIMIZE",
    "RAY_preload_python_modules",
    "RAY_RUNTIME_ENV_LOCAL_DEV_MODE",
    "AIOHTTP_NO_EXTENSIONS",
    rule="SR-CODE-002",
    why="it chooses what code Ray's own processes load, or turns their checks off",
    fix="install what you need into Ray's Python environment",
) + pin(
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV",
    rule="SR-CODE-002",
    unsafe=ON,
    pinned="0",
    why="under `uv run` it replaces the workers' interpreter by a shell command",
)

_DEBUGGERS = (
    *pin(
        "RAY_DEBUG",
        rule="SR-CODE-003",
        unsafe=ON,
        pinned="0",
        why="on by default: at a breakpoint a debugger without a password listens",
    ),
    *pin(
        "RAY_DEBUG_POST_MORTEM",
        rule="SR-CODE-003",
        unsafe=ON,
        pinned="0",
        why="at an exception a debugger without a password listens",
    ),
    *scrub(
        "REMOTE_PDB_HOST",
        "REMOTE_PDB_PORT",
        "PYTHONBREAKPOINT",
        rule="SR-CODE-003",
        why="it chooses where a debugger without a password listens, or what breakpoint() calls",
    ),
    *refuse(
        "RAY_DASHBOARD_ENABLE_PROFILING",
        rule="SR-CODE-005",
        unsafe=ON,
        why="GET requests would attach py-spy or memray to processes",
        versions=">=2.53",
    ),
)

_DESERIALIZATION = (
    *refuse(
        "RAY_DATA_AUTOLOAD_CLOUDPICKLE_TENSOR_METADATA",
        "RAY_DATA_AUTOLOAD_PICKLE_OBJECT_SCALAR",
        "RAY_DATA_WEBDATASET_ALLOW_UNSAFE_DESERIALIZATION",
        "RAY_DATA_ARROW_EXTENSION_SERIALIZATION_CLOUDPICKLE",
        rule="SR-CODE-004",
        unsafe=ON,
        why="a crafted data file could run code when it is read",
        versions=">=2.53",
    ),
    *refuse(
        "RAY_DATA_AUTOLOAD_PYEXTENSIONTYPE",
        rule="SR-CODE-004",
        unsafe=ON,
        why="a crafted data file could run code when it is read",
    ),
)

_JOBS = (
    *refuse(
        "RAY_OVERRIDE_JOB_RUNTIME_ENV",
        rule="SR-CODE-009",
        unsafe=ON,
        why="a driver could replace the runtime environment that its job was accepted with",
    ),
    *scrub(
        "RAY_JOB_CONFIG_JSON_ENV_VAR",
        rule="SR-CODE-009",
        why="it replaces the runtime environment of the driver",
    ),
)

_TEST_SWITCHES = refuse(
    "RAY_testing_*",
    "RAY_FAKE_CLUSTER",
    "RAY_OVERRIDE_NODE_ID_FOR_TESTING",
    "RAY_DASHBOARD_DEV",
    rule="SR-CODE-008",
    unsafe=ON,
    why="it is a switch for tests that nobody reviews for security",
) + refuse(
    "RAY_ENABLE_GCS_LEADER_ELECTION",
    rule="SR-CODE-008",
    unsafe=ON,
    why="Ray calls it experimental and incomplete",
)

# What runtime environments are installed with: the same as in `tables.runtime_env`, by another way.
_INSTALLERS = scrub(
    "PIP_INDEX_URL",
    "PIP_EXTRA_INDEX_URL",
    "PIP_FIND_LINKS",
    "UV_INDEX",
    "UV_DEFAULT_INDEX",
    "UV_INDEX_URL",
    "UV_EXTRA_INDEX_URL",
    "UV_FIND_LINKS",
    "CONDA_CHANNELS",
    "CONDA_CHANNEL_ALIAS",
    rule="SR-CODE-010",
    unsafe=PLAIN_HTTP,
    why="whoever sits on the path can change the code",
    fix="use https://",
) + scrub(
    "PIP_TRUSTED_HOST",
    "UV_INSECURE_HOST",
    rule="SR-CODE-010",
    unsafe=other_than(""),
    why="the installer would not check the certificate of that host",
    fix="leave it out; PIP_CERT or SSL_CERT_FILE names a CA of your own",
)

CODE_VARIABLES = (
    *_HOOKS,
    *_LOADER,
    *_DEBUGGERS,
    *_DESERIALIZATION,
    *_JOBS,
    *_TEST_SWITCHES,
    *_INSTALLERS,
)
