"""Every setting: its kind, its default, and what must fit together.

Made by `convert.read_settings`, which refuses a misspelt key or a value of the wrong kind: a
setting that is silently not applied protects nobody. Made by hand, only what a section says of
its fields together is checked. Messages finish the sentence "ports ...".
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from secure_ray.settings.values import (
    FIRST_PORT,
    LAST_PORT,
    Amount,
    Bind,
    Count,
    FlagName,
    Fraction,
    HostName,
    Network,
    PathText,
    Port,
    PortRange,
    PositiveAmount,
    PositiveSize,
    Reason,
    RedisAddress,
    RedisName,
    ResourceName,
    RotationSize,
    RuleId,
    Size,
    Span,
    Until,
    VariableName,
    VariablePattern,
    VariableValue,
)

_SPANS = {
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
}
_SHORTEST_LEAF, _LONGEST_LEAF = timedelta(minutes=1), timedelta(days=365)


class NetworkSettings(Struct, frozen=True, kw_only=True):
    """Where the cluster listens.

    `bind` is "local", "private", an address of this host or a name of it; whether the address may
    be listened on is for `policy.bind`. `join_from` narrows where the firewall lets nodes join from;
    empty, it is the private range of the head's address.
    """

    bind: Bind = "local"
    firewall: Literal["auto", "off"] = "auto"
    join_from: tuple[Network, ...] = ()


class PortSettings(Struct, frozen=True, kw_only=True):
    """Which ports the cluster takes; None lets secure-ray find free ones.

    The fields after `workers` have the names of `policy.ports.COMPONENT_NAMES`.
    """

    base: Annotated[int, Meta(ge=FIRST_PORT, le=LAST_PORT - 1023)] | None = None
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

    def __post_init__(self) -> None:
        seen: dict[int, str] = {}
        workers = self.worker_range()
        for name, port in self.fixed().items():
            if port in seen:
                raise ValueError(f"gives port {port} to both {seen[port]} and {name}")
            if workers and workers[0] <= port <= workers[1]:
                raise ValueError(f"gives port {port} to both {name} and workers")
            seen[port] = name

    def fixed(self) -> dict[str, int]:
        """The ports that the user chose, by component."""
        chosen = {name: getattr(self, name) for name in self.__struct_fields__}
        return {
            name: port
            for name, port in chosen.items()
            if name not in {"base", "workers"} and port is not None
        }

    def worker_range(self) -> tuple[int, int] | None:
        """First and last port for workers and drivers, if the user chose them."""
        if self.workers is None:
            return None
        first, _, last = self.workers.partition("-")
        return int(first), int(last)


class LimitSettings(Struct, frozen=True, kw_only=True):
    """What the cluster may use; sizes in bytes, None takes it from the host."""

    num_cpus: Count | None = None
    num_gpus: Count | None = None
    memory: PositiveSize | None = None
    object_store_memory: PositiveSize | None = None
    resources: Mapping[ResourceName, Amount] = field(default_factory=dict)
    memory_usage_threshold: Fraction = 0.9
    min_free_disk: Size = 1 << 30
    spill_limit: Fraction = 0.9
    resource_isolation: Literal["auto", "on", "off"] = "auto"
    system_reserved_cpu: PositiveAmount | None = None
    system_reserved_memory: PositiveSize | None = None


class LogSettings(Struct, frozen=True, kw_only=True):
    """What is logged, how, and how much is kept."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["text", "json"] = "text"
    rotate_bytes: RotationSize = 100 << 20
    rotate_count: Annotated[int, Meta(ge=1, le=100)] = 5


class MetricSettings(Struct, frozen=True, kw_only=True):
    """Ray's metric exporters, which ask for no token."""

    enabled: bool = False


class DashboardSettings(Struct, frozen=True, kw_only=True):
    """The dashboard and the Jobs API."""

    enabled: bool = True


class EnvironmentSettings(Struct, frozen=True, kw_only=True):
    """What Ray's processes get beyond what secure-ray gives them; `pass_` is `pass` in a file."""

    pass_: tuple[VariablePattern, ...] = field(default=(), name="pass")
    set: Mapping[VariableName, VariableValue] = field(default_factory=dict)

    def __repr__(self) -> str:
        # The values may be secrets.
        return f"EnvironmentSettings(pass_={self.pass_!r}, set=<{len(self.set)} variables>)"

    def __rich_repr__(self) -> list[tuple[str, object]]:
        return [("pass_", self.pass_)]


class RaySettings(Struct, frozen=True, kw_only=True):
    """Options for `ray start` that the policy table does not know."""

    allow_flags: tuple[FlagName, ...] = ()


class PkiSettings(Struct, frozen=True, kw_only=True):
    """How long certificates live, of what kind keys are, and what opens the root key.

    `leaf_life` (90s, 5m, 12h, 30d) takes the place of `leaf_days` where it is given.
    """

    leaf_days: Annotated[int, Meta(ge=1, le=365)] = 90
    leaf_life: Span | None = None
    issuing_days: Annotated[int, Meta(ge=1, le=3650)] = 365
    key: Literal["p256", "p384", "rsa3072", "ed25519"] = "p256"
    passphrase_file: PathText | None = None

    def __post_init__(self) -> None:
        named = "leaf_days" if self.leaf_life is None else "leaf_life"
        if not _SHORTEST_LEAF <= self.leaf <= _LONGEST_LEAF:
            raise ValueError("has leaf_life outside of one minute to 365 days")
        if self.leaf > timedelta(days=self.issuing_days):
            raise ValueError(f"has {named} longer than issuing_days")
        _ = self.leaf_key

    @property
    def leaf(self) -> timedelta:
        """How long a node's certificate lives."""
        if self.leaf_life is None:
            return timedelta(days=self.leaf_days)
        return int(self.leaf_life[:-1]) * _SPANS[self.leaf_life[-1]]

    @property
    def leaf_key(self) -> Literal["p256", "p384", "rsa3072"]:
        """Of what kind the key of a node's certificate is.

        Raises:
            ValueError: of one that Ray does not work with.
        """
        if self.key == "ed25519":  # measured with grpcio 1.85.3: see `pki.keys`
            raise ValueError(
                'has key = "ed25519", with which Ray\'s gRPC fails every handshake; use p256, p384'
                " or rsa3072"
            )
        return self.key


class StartSettings(Struct, frozen=True, kw_only=True):
    """How Ray is started; `order = "stock"` keeps to Ray's own order of starting its processes."""

    timeout_seconds: Annotated[int, Meta(ge=5, le=3600)] = 120
    order: Literal["parallel", "stock"] = "parallel"


class StoreSettings(Struct, frozen=True, kw_only=True):
    """Where the head's control store keeps what it must still know after a restart.

    `kind = "auto"` is Redis where `[redis]` has an address, else RocksDB where Ray has it.
    """

    kind: Literal["auto", "memory", "rocksdb", "redis"] = "auto"


class RedisSettings(Struct, frozen=True, kw_only=True):
    """A Redis that keeps the control store; `namespace` begins its keys there."""

    address: RedisAddress | None = None
    username: RedisName | None = None
    password_file: PathText | None = None
    ca_file: PathText | None = None
    cert_file: PathText | None = None
    key_file: PathText | None = None
    server_name: HostName | None = None
    namespace: RedisName | None = None

    def __post_init__(self) -> None:
        given = [name for name in self.__struct_fields__ if getattr(self, name) is not None]
        if given and self.address is None:
            raise ValueError(f"has no address, but {given[0]}")
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("needs cert_file and key_file, or neither")
        if self.username is not None and self.password_file is None:
            raise ValueError("has a username without a password_file")
        if self.is_encrypted and self.ca_file is None:
            # Ray asks for a chain to a CA, and not for the name: any CA of the system would do.
            raise ValueError("needs ca_file, the CA that signed this Redis and nothing else")

    @property
    def is_encrypted(self) -> bool:
        """Whether it is reached by TLS."""
        return self.address is not None and self.address.startswith("rediss://")

    @property
    def host(self) -> str:
        """The host in its address."""
        return (self.address or "").rpartition(":")[0].partition("://")[2].strip("[]")


class AdvisorySettings(Struct, frozen=True, kw_only=True):
    """Further advisories: OSV files."""

    files: tuple[PathText, ...] = ()


class Override(Struct, frozen=True, kw_only=True):
    """Permission to break one rule, for some time.

    Attributes:
        until: When it ends, in UTC; a date in the file includes that day.
        reason: Why, for whoever reads `status`.
    """

    until: Until
    reason: Reason


class Settings(Struct, frozen=True, kw_only=True):
    """All settings."""

    network: NetworkSettings = field(default_factory=NetworkSettings)
    ports: PortSettings = field(default_factory=PortSettings)
    limits: LimitSettings = field(default_factory=LimitSettings)
    logging: LogSettings = field(default_factory=LogSettings)
    metrics: MetricSettings = field(default_factory=MetricSettings)
    dashboard: DashboardSettings = field(default_factory=DashboardSettings)
    environment: EnvironmentSettings = field(default_factory=EnvironmentSettings)
    ray: RaySettings = field(default_factory=RaySettings)
    pki: PkiSettings = field(default_factory=PkiSettings)
    start: StartSettings = field(default_factory=StartSettings)
    store: StoreSettings = field(default_factory=StoreSettings)
    redis: RedisSettings = field(default_factory=RedisSettings)
    advisories: AdvisorySettings = field(default_factory=AdvisorySettings)
    override: Mapping[RuleId, Override] = field(default_factory=dict)
