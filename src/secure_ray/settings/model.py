"""Every setting: its type, its default, what it may be.

Strict on purpose. A misspelt key or a value of the wrong type is refused, because a setting that
is silently not applied protects nobody. Messages finish the sentence "limits.num_cpus ...".
"""

import re
from collections.abc import Mapping
from datetime import date, datetime, time, timedelta, timezone
from pathlib import PurePosixPath
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    model_validator,
)

from secure_ray.settings.sizes import parse_size, spell_size

_LOOPBACK_NAMES = ("local", "127.0.0.1", "localhost")
_LAST_PORT = 65535
# Ray 2.60.0, _private/resource_and_label_spec.py: these have options of their own.
_BUILT_IN_RESOURCES = {"CPU", "GPU", "memory", "object_store_memory"}


def _require_local(value: object) -> object:
    if value in _LOOPBACK_NAMES:
        return "local"
    raise ValueError('should be "local": this version binds to localhost only')


def _require_match(pattern: str, wanted: str) -> AfterValidator:
    compiled = re.compile(pattern)

    def check(value: str) -> str:
        if compiled.fullmatch(value):
            return value
        raise ValueError(f"should be {wanted}")

    return AfterValidator(check)


def _require_range(value: str) -> str:
    first, _, last = value.partition("-")
    if not (first.isascii() and last.isascii() and first.isdigit() and last.isdigit()):
        raise ValueError('should be two ports, for example "20000-20999"')
    if not _FIRST_PORT <= int(first) <= int(last) <= _LAST_PORT:
        raise ValueError("should be two ports from 1024 to 65535, the smaller one first")
    return value


def _require_absolute(value: str) -> str:
    if not value.startswith("/") or "\0" in value:
        raise ValueError("should be an absolute path")
    return str(PurePosixPath(value))


def _parse_until(value: object) -> datetime:
    if isinstance(value, str):
        value = _parse_iso(value)
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ValueError("should say its time zone, for example 2027-01-31T18:00:00Z")
        return value.astimezone(timezone.utc)
    if isinstance(value, date):
        # "until the 31st" includes the 31st.
        return datetime.combine(value, time(), timezone.utc) + timedelta(days=1)
    raise ValueError("should be a date or a time, for example 2027-01-31")


def _parse_iso(text: str) -> date | datetime:
    try:
        if len(text) == len("2027-01-31"):
            return date.fromisoformat(text)
        # Python 3.10 does not read the Z of RFC 3339.
        return datetime.fromisoformat(re.sub("[zZ]$", "+00:00", text))
    except ValueError:
        raise ValueError("should be a date or a time, for example 2027-01-31") from None


def _tuple(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


_FIRST_PORT = 1024
Port = Annotated[int, Field(ge=_FIRST_PORT, le=_LAST_PORT)]
_SPELLED = PlainSerializer(spell_size, return_type=str, when_used="json")
Size = Annotated[int, BeforeValidator(parse_size), _SPELLED]
PositiveSize = Annotated[int, Field(gt=0), BeforeValidator(parse_size), _SPELLED]
RotationSize = Annotated[int, Field(ge=1 << 16), BeforeValidator(parse_size), _SPELLED]
Fraction = Annotated[float, Field(gt=0, lt=1)]
PathText = Annotated[str, AfterValidator(_require_absolute)]
Bind = Annotated[Literal["local"], BeforeValidator(_require_local)]
PortRange = Annotated[str, AfterValidator(_require_range)]
Until = Annotated[datetime, BeforeValidator(_parse_until)]
Reason = Annotated[
    str, _require_match(r"(?=.*\S)[^\x00-\x1f\x7f]{1,500}", "one line that says why")
]
VariableName = Annotated[
    str, _require_match(r"[A-Za-z_][A-Za-z0-9_]*", "the name of an environment variable")
]
VariablePattern = Annotated[
    str,
    _require_match(
        r"[A-Za-z_][A-Za-z0-9_*?]*",
        'the name of an environment variable, or a pattern such as "AWS_*" that begins with a letter',
    ),
]
VariableValue = Annotated[str, _require_match(r"[^\x00]*", "text without a zero byte")]
FlagName = Annotated[
    str,
    _require_match(
        r"--[a-z0-9][a-z0-9-]*", 'the name of a `ray start` option, for example "--labels"'
    ),
]
RuleId = Annotated[
    str,
    _require_match(
        r"SR-[A-Z]+-[0-9]{3}|CVE-[0-9]{4}-[0-9]{4,}|GHSA(-[0-9a-z]{4}){3}|PYSEC-[0-9]{4}-[0-9]+",
        "the id of a rule or an advisory, for example SR-NET-002 or CVE-2026-12345",
    ),
]


def _require_custom(name: str) -> str:
    if not name.strip() or not name.isprintable():
        raise ValueError("should have a printable name")
    if name in _BUILT_IN_RESOURCES:
        raise ValueError("is built in: set num_cpus, num_gpus, memory or object_store_memory")
    return name


ResourceName = Annotated[str, AfterValidator(_require_custom)]
Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)


class NetworkSettings(_Section):
    """Where the cluster listens."""

    bind: Bind = "local"


class PortSettings(_Section):
    """Which ports the cluster takes; None lets secure-ray find free ones.

    The fields after `workers` have the names of `policy.ports.COMPONENT_NAMES`.
    """

    base: Annotated[int, Field(ge=_FIRST_PORT, le=_LAST_PORT - 1023)] | None = None
    workers: PortRange | None = None
    gcs: Port | None = None
    dashboard: Port | None = None
    node_manager: Port | None = None
    object_manager: Port | None = None
    agent_grpc: Port | None = None
    agent_http: Port | None = None
    runtime_env: Port | None = None
    metrics: Port | None = None
    dashboard_metrics: Port | None = None
    autoscaler_metrics: Port | None = None

    @model_validator(mode="after")
    def _require_distinct(self) -> "PortSettings":
        seen: dict[int, str] = {}
        workers = self.worker_range()
        for name, port in self.fixed().items():
            if port in seen:
                raise ValueError(f"gives port {port} to both {seen[port]} and {name}")
            if workers and workers[0] <= port <= workers[1]:
                raise ValueError(f"gives port {port} to both {name} and workers")
            seen[port] = name
        return self

    def fixed(self) -> dict[str, int]:
        """The ports that the user chose, by component."""
        chosen = self.model_dump(exclude={"base", "workers"}, exclude_none=True)
        return {name: int(port) for name, port in chosen.items()}

    def worker_range(self) -> tuple[int, int] | None:
        """First and last port for workers and drivers, if the user chose them."""
        if self.workers is None:
            return None
        first, _, last = self.workers.partition("-")
        return int(first), int(last)


class LimitSettings(_Section):
    """What the cluster may use; sizes in bytes, None takes it from the host."""

    num_cpus: Annotated[int, Field(ge=0)] | None = None
    num_gpus: Annotated[int, Field(ge=0)] | None = None
    memory: PositiveSize | None = None
    object_store_memory: PositiveSize | None = None
    resources: Mapping[ResourceName, Amount] = Field(default_factory=dict)
    memory_usage_threshold: Fraction = 0.9
    min_free_disk: Size = 1 << 30
    spill_limit: Fraction = 0.9
    resource_isolation: Literal["auto", "on", "off"] = "auto"
    system_reserved_cpu: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    system_reserved_memory: PositiveSize | None = None


class LogSettings(_Section):
    """What is logged, how, and how much is kept."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["text", "json"] = "text"
    rotate_bytes: RotationSize = 100 << 20
    rotate_count: Annotated[int, Field(ge=1, le=100)] = 5


class MetricSettings(_Section):
    """Ray's metric exporters, which ask for no token."""

    enabled: bool = False


class DashboardSettings(_Section):
    """The dashboard and the Jobs API."""

    enabled: bool = True


class EnvironmentSettings(_Section):
    """What Ray's processes get beyond what secure-ray gives them; `pass_` is `pass` in a file."""

    pass_: Annotated[tuple[VariablePattern, ...], BeforeValidator(_tuple)] = Field(
        default=(), alias="pass"
    )
    set: Mapping[VariableName, VariableValue] = Field(default_factory=dict, repr=False)


class RaySettings(_Section):
    """Options for `ray start` that the policy table does not know."""

    allow_flags: Annotated[tuple[FlagName, ...], BeforeValidator(_tuple)] = ()


class PkiSettings(_Section):
    """How long certificates live, and what opens the root key."""

    leaf_days: Annotated[int, Field(ge=1, le=365)] = 90
    issuing_days: Annotated[int, Field(ge=1, le=3650)] = 365
    passphrase_file: PathText | None = None

    @model_validator(mode="after")
    def _require_nested_lives(self) -> "PkiSettings":
        if self.leaf_days > self.issuing_days:
            raise ValueError("has leaf_days longer than issuing_days")
        return self


class StartSettings(_Section):
    """How Ray is started; `order = "stock"` keeps to Ray's own order of starting its processes."""

    timeout_seconds: Annotated[int, Field(ge=5, le=3600)] = 120
    order: Literal["parallel", "stock"] = "parallel"


class AdvisorySettings(_Section):
    """Further advisories: OSV files."""

    files: Annotated[tuple[PathText, ...], BeforeValidator(_tuple)] = ()


class Override(_Section):
    """Permission to break one rule, for some time.

    Attributes:
        until: When it ends, in UTC; a date in the file includes that day.
        reason: Why, for whoever reads `status`.
    """

    until: Until
    reason: Reason


class Settings(_Section):
    """All settings."""

    network: NetworkSettings = Field(default_factory=NetworkSettings)
    ports: PortSettings = Field(default_factory=PortSettings)
    limits: LimitSettings = Field(default_factory=LimitSettings)
    logging: LogSettings = Field(default_factory=LogSettings)
    metrics: MetricSettings = Field(default_factory=MetricSettings)
    dashboard: DashboardSettings = Field(default_factory=DashboardSettings)
    environment: EnvironmentSettings = Field(default_factory=EnvironmentSettings)
    ray: RaySettings = Field(default_factory=RaySettings)
    pki: PkiSettings = Field(default_factory=PkiSettings)
    start: StartSettings = Field(default_factory=StartSettings)
    advisories: AdvisorySettings = Field(default_factory=AdvisorySettings)
    override: Mapping[RuleId, Override] = Field(default_factory=dict)
