"""Keys of `_system_config`: they win over the environment (measured on Ray 2.60.0).

A key without a row here is judged as the variable `RAY_<key>` (see `find_knob`).
"""

from __future__ import annotations

from secure_ray.policy.knobs import Action, Kind, Knob
from secure_ray.policy.values import ANY, NEVER, OFF, Unsafe, other_than

_DROP = "drop the key"


def _refuse(name: str, rule: str, why: str, *, unsafe: Unsafe = ANY, fix: str = _DROP) -> Knob:
    return Knob(Kind.SYSTEM_CONFIG, name, Action.REFUSE, rule, unsafe, why, fix)


def _allow(name: str, why: str) -> Knob:
    return Knob(Kind.SYSTEM_CONFIG, name, Action.ALLOW, "", NEVER, why, "")


_PATHS = "secure-ray makes the keys and names them"

SYSTEM_CONFIG = (
    _refuse(
        "AUTH_MODE",
        "SR-AUTH-001",
        "it turns authentication off although RAY_AUTH_MODE is `token`",
        unsafe=other_than("token"),
    ),
    _refuse("USE_TLS", "SR-TLS-001", "it turns TLS off although RAY_USE_TLS is 1", unsafe=OFF),
    _refuse("TLS_SERVER_CERT", "SR-TLS-002", _PATHS),
    _refuse("TLS_SERVER_KEY", "SR-TLS-002", _PATHS),
    _refuse("TLS_CA_CERT", "SR-TLS-002", _PATHS),
    _refuse("TLS_*", "SR-TLS-002", _PATHS),
    _refuse(
        "enable_cluster_auth",
        "SR-AUTH-004",
        "it drops the check that a caller belongs to this cluster",
        unsafe=OFF,
    ),
    _refuse(
        "gcs_storage",
        "SR-DATA-003",
        "state would lie outside the private tree, unencrypted",
        unsafe=other_than("memory"),
    ),
    _refuse("gcs_storage*", "SR-DATA-003", "state would lie outside the private tree, unencrypted"),
    # Limits and timing, which change no protection.
    _allow("worker_lease_timeout_milliseconds", "scheduling"),
    _allow("num_workers_soft_limit", "scheduling"),
    _allow("max_direct_call_object_size", "where small objects are kept"),
    _allow("min_spilling_size", "spilling"),
    _allow("max_io_workers", "spilling"),
    _allow("object_spilling_threshold", "spilling"),
    _allow("task_oom_retries", "retries"),
    _allow("idle_worker_killing_time_threshold_ms", "scheduling"),
    _allow("health_check_*", "when a silent node counts as dead"),
)
