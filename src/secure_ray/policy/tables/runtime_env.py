"""The fields of a runtime environment (Ray 2.60.0, runtime_env/runtime_env.py), dotted.

A broker that takes jobs from others needs stricter rules; these hold for the driver's own.
"""

from __future__ import annotations

from secure_ray.policy.knobs import Action, Kind, Knob
from secure_ray.policy.values import (
    ANY,
    EACH_KEY,
    INSTALLER_OPTIONS,
    NEVER,
    PLAIN_HTTP,
    REQUIREMENTS,
    Unsafe,
    one_of,
)


def _refuse(name: str, rule: str, why: str, fix: str, *, unsafe: Unsafe = ANY) -> Knob:
    return Knob(Kind.ARGUMENT, f"runtime_env.{name}", Action.REFUSE, rule, unsafe, why, fix)


def _allow(name: str, why: str) -> Knob:
    return Knob(Kind.ARGUMENT, f"runtime_env.{name}", Action.ALLOW, "", NEVER, why, "")


_SHELL = "it is put unquoted before the worker's command line"
_CONTAINER = (
    "the container shares the host's network, process and IPC namespaces, and every RAY_ variable "
    "stands on its command line"
)
_INSTALLER = "an installer's options choose its index and its certificate checks"
_PLAIN_REQUIREMENTS = "give plain requirements; set the index in the installer's own configuration"
_HTTP = "whoever sits on the path can change the code"

RUNTIME_ENV = (
    Knob(
        Kind.ARGUMENT,
        "runtime_env",
        Action.REFUSE,
        "SR-RAY-005",
        EACH_KEY,
        "what cannot be read cannot be judged",
        "give a dictionary",
    ),
    _refuse(
        "env_vars",
        "SR-RAY-005",
        "a job's variables win over the node's",
        "give a dictionary",
        unsafe=EACH_KEY,
    ),
    _refuse(
        "config",
        "SR-RAY-005",
        "what cannot be read cannot be judged",
        "give a dictionary",
        unsafe=EACH_KEY,
    ),
    _refuse("py_executable", "SR-CODE-006", _SHELL, "install what the job needs instead"),
    _refuse("image_uri", "SR-CODE-006", _CONTAINER, "run all of secure-ray in the container"),
    _refuse("container", "SR-CODE-006", _CONTAINER, "run all of secure-ray in the container"),
    _refuse(
        "worker_process_setup_hook",
        "SR-CODE-001",
        "it runs in every worker before the first task",
        "call it from your tasks",
    ),
    _refuse("_nsight", "SR-CODE-006", _SHELL, "profile on this host yourself"),
    _refuse("nsight", "SR-CODE-006", _SHELL, "profile on this host yourself"),
    _refuse("_rocprof_sys", "SR-CODE-006", _SHELL, "profile on this host yourself"),
    _refuse("rocprof_sys", "SR-CODE-006", _SHELL, "profile on this host yourself"),
    _refuse("java_jars", "SR-CODE-006", "it loads code into a Java worker", "use Python"),
    _refuse("pip", "SR-CODE-010", _INSTALLER, _PLAIN_REQUIREMENTS, unsafe=REQUIREMENTS),
    _refuse("uv", "SR-CODE-010", _INSTALLER, _PLAIN_REQUIREMENTS, unsafe=REQUIREMENTS),
    _refuse("conda", "SR-CODE-010", _INSTALLER, _PLAIN_REQUIREMENTS, unsafe=INSTALLER_OPTIONS),
    _refuse("working_dir", "SR-CODE-010", _HTTP, "use https:// or a directory", unsafe=PLAIN_HTTP),
    _refuse("py_modules", "SR-CODE-010", _HTTP, "use https:// or a directory", unsafe=PLAIN_HTTP),
    _refuse(
        "config.log_files",
        "SR-DATA-005",
        "the dashboard would show any file that it names",
        "leave it out; logs lie in the cluster's log directory",
    ),
    _refuse(
        "config.setup_timeout_seconds",
        "SR-LIMIT-020",
        "with -1 an installation may hang for ever",
        "give a number of seconds",
        unsafe=one_of("-1"),
    ),
    _allow("config.eager_install", "when it is installed"),
    _allow("excludes", "what is not uploaded"),
    _allow("_ray_release", "a mark"),
    _allow("_ray_commit", "a mark"),
    _allow("_inject_current_ray", "Ray's own package for the job"),
)
