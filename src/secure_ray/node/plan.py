"""The launch plan: everything that will be started, as one value that can be printed and tested."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

from secure_ray.base.plain import from_plain_json, plain_json
from secure_ray.base.secrets import MASK
from secure_ray.node.environment import ray_environment
from secure_ray.node.paths import ClusterPaths, RunPaths
from secure_ray.node.place import LOCAL, Place
from secure_ray.node.store import rocksdb_directory, store_environment
from secure_ray.policy.addresses import LOOPBACK, host_port
from secure_ray.policy.limits import Limits
from secure_ray.policy.ports import PortPlan
from secure_ray.policy.store import StoreKind
from secure_ray.settings.model import PkiSettings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from secure_ray.settings.model import Settings

# `python -c` puts the working directory first on sys.path, where somebody may have planted a
# module; without it only what is installed is imported.
_RAY_COMMAND = (
    "import sys; sys.path[:] = [p for p in sys.path if p]; sys.argv[0] = 'ray'; "
    "from ray.scripts.scripts import main; main()"
)


@dataclass(frozen=True)
class ActiveOverride:
    """A rule that the user suspended; `until` in ISO 8601."""

    rule: str
    until: str
    reason: str


@dataclass(frozen=True)
class LaunchPlan:
    """How Ray is started on this node.

    Attributes:
        cluster_id: Marks the cluster's processes on this node (`SECURE_RAY_INSTANCE`).
        argv: The command.
        environment: All of the command's environment.
        working_directory: Where it runs; also where tasks without a working_dir run.
        private_directories: Made with mode 0700 before the start.
        timeout: Seconds until Ray must be ready.
        ephemeral: True for a cluster that lives as long as the program that started it.
        logging_json: Whether Ray's Python logs and ours are JSON.
        logging_level: What ours begins at; Ray is told by its environment.
        logging_bytes: How large ours gets before it is put aside.
        logging_count: How many of those are kept.
        overrides: The rules that are suspended.
        private: Variables that the user's settings brought in, which may hold secrets.
        place: Which node of the cluster this is, and what it listens on.
        guard: The bind guard's library; None in local mode where there is none.
        firewall: Whether a firewall is to let in the cluster's nodes alone, where we may have one.
        head_ports: The head's port plan; on the head the same as `ports`.
        pki: How long certificates live, of what kind keys are, what opens the root key.
        join_from: The networks from which that firewall lets nodes join; empty for the private
            range of the node's address.
        store: What keeps the control store's state on a head; a worker has none.
        settings_file: The settings file it was started with, which `audit` and `run` read too.
    """

    cluster_id: str
    paths: ClusterPaths
    run: RunPaths
    argv: tuple[str, ...]
    environment: dict[str, str]
    working_directory: Path
    private_directories: tuple[Path, ...]
    ports: PortPlan
    limits: Limits
    versions: dict[str, str]
    timeout: float
    ephemeral: bool
    logging_json: bool
    logging_level: str
    logging_bytes: int
    logging_count: int
    overrides: tuple[ActiveOverride, ...]
    private: tuple[str, ...]
    place: Place
    guard: Path | None
    firewall: bool
    head_ports: PortPlan
    pki: PkiSettings
    join_from: tuple[str, ...] = ()
    store: StoreKind = StoreKind.MEMORY
    settings_file: Path | None = None

    @property
    def control_store(self) -> str:
        """Where the cluster's control store (GCS) is, as Ray takes it."""
        return host_port(self.place.head, self.head_ports.port("gcs"))

    def shown(self) -> LaunchPlan:
        """The plan to print and to keep: without the values that the user's settings brought in."""
        stars = dict.fromkeys(self.private, MASK)
        return replace(self, environment=self.environment | stars)

    @property
    def certificates(self) -> Path:
        """The directory with node.crt, node.key and ca.crt."""
        return self.paths.pki / "node" / "current"

    def to_json(self) -> str:
        """The plan as JSON; `from_json` reads it back."""
        return plain_json(self)

    @staticmethod
    def from_json(text: str) -> LaunchPlan:
        """The plan that `to_json` wrote.

        Raises:
            ValueError: the text is not a plan of this version.
        """
        return from_plain_json(text, LaunchPlan)


def build_plan(  # noqa: PLR0913  # the plan is where everything meets
    *,
    settings: Settings,
    paths: ClusterPaths,
    run: RunPaths,
    ports: PortPlan,
    limits: Limits,
    versions: Mapping[str, str],
    caller: Mapping[str, str],
    cluster_id: str,
    variables: Mapping[str, str],
    ray_options: Sequence[str] = (),
    working_directory: Path | None = None,
    ephemeral: bool = False,
    place: Place = LOCAL,
    guard: Path | None = None,
    head_ports: PortPlan | None = None,
    store: StoreKind = StoreKind.MEMORY,
    settings_file: Path | None = None,
) -> LaunchPlan:
    """Put settings, limits, ports and keys together into one plan.

    Args:
        settings: The settings that won.
        paths: The cluster's files.
        run: The short directory for sockets and Ray's session.
        ports: The ports, found free.
        limits: The limits, decided for this host.
        versions: Installed versions by package, for the record.
        caller: The caller's environment, from which a few harmless variables are taken.
        cluster_id: The cluster's mark.
        variables: Further variables of Ray's environment, already allowed by policy.
        ray_options: Further `ray start` options, already allowed by policy.
        working_directory: Where Ray runs; the run directory's tmp when None.
        ephemeral: Whether the cluster ends with the program that started it.
        place: Which node of the cluster this is, and what it listens on.
        guard: The bind guard's library, where there is one.
        head_ports: The head's port plan, on a worker.
        store: What keeps the control store's state. It counts on a head that outlives a program.
        settings_file: The file that the settings came from, if any.
    """
    head_ports = head_ports or ports
    if ephemeral or not place.is_head:
        store = StoreKind.MEMORY
    rocksdb = rocksdb_directory(paths, versions["ray"])
    environment = ray_environment(
        caller,
        settings,
        variables,
        paths,
        run,
        ports,
        cluster_id=cluster_id,
        place=place,
        guard=guard,
        store=store_environment(store, settings.redis, rocksdb, cluster_id),
    )
    kept = (paths.store, rocksdb) if store is StoreKind.ROCKSDB else ()
    return LaunchPlan(
        cluster_id=cluster_id,
        paths=paths,
        run=run,
        argv=(
            sys.executable,
            "-u",
            "-c",
            _RAY_COMMAND,
            *_place_options(settings, head_ports, place),
            *_node_options(paths, run, ports),
            *_limit_options(settings, limits),
            *ray_options,
        ),
        environment=environment,
        working_directory=working_directory or run.temporary,
        private_directories=(run.directory, run.temporary, paths.spill, *kept),
        ports=ports,
        limits=limits,
        versions=dict(versions),
        timeout=settings.start.timeout_seconds,
        ephemeral=ephemeral,
        logging_json=settings.logging.format == "json",
        logging_level=settings.logging.level,
        logging_bytes=settings.logging.rotate_bytes,
        logging_count=settings.logging.rotate_count,
        private=tuple(sorted(_brought_in(settings, variables, environment))),
        overrides=tuple(
            ActiveOverride(rule, override.until.isoformat(timespec="minutes"), override.reason)
            for rule, override in sorted(settings.override.items())
        ),
        place=place,
        guard=guard,
        firewall=place.is_private and settings.network.firewall == "auto",
        head_ports=head_ports,
        pki=settings.pki,
        join_from=settings.network.join_from,
        store=store,
        settings_file=settings_file,
    )


def _brought_in(
    settings: Settings, variables: Mapping[str, str], environment: Mapping[str, str]
) -> set[str]:
    patterns = settings.environment.pass_
    passed = {name for name in environment if any(fnmatchcase(name, one) for one in patterns)}
    return passed | variables.keys()


def _place_options(settings: Settings, head_ports: PortPlan, place: Place) -> list[str]:
    """`ray start` of a head or of a worker; each refuses some options of the other."""
    address = [f"--node-ip-address={place.address}"] if place.is_private else []
    if not place.is_head:
        return ["start", f"--address={host_port(place.head, head_ports.port('gcs'))}", *address]
    return [
        "start",
        "--head",
        *address,
        "--disable-usage-stats",
        # Plain HTTP, so never on the node's own address.
        f"--dashboard-host={LOOPBACK}",
        f"--include-dashboard={str(settings.dashboard.enabled).lower()}",
    ]


def _node_options(paths: ClusterPaths, run: RunPaths, ports: PortPlan) -> list[str]:
    options = [
        "--block",
        "--log-color=false",
        f"--temp-dir={run.ray}",
        f"--object-spilling-directory={paths.spilled}",
        f"--min-worker-port={ports.first_worker}",
        f"--max-worker-port={ports.last_worker}",
    ]
    options += [
        f"{planned.component.flag}={planned.port}"
        for planned in ports.of_ray
        if planned.component.flag
    ]
    return options + [f"{component.flag}={ports.reservation}" for component in ports.closed]


def _limit_options(settings: Settings, limits: Limits) -> list[str]:
    options = [
        f"--num-cpus={limits.num_cpus}",
        f"--memory={limits.memory}",
        f"--object-store-memory={limits.object_store_memory}",
    ]
    # With 0 Ray would not look for accelerators that only Ray knows (TPU, Gaudi, ...).
    if limits.num_gpus or settings.limits.num_gpus is not None:
        options.append(f"--num-gpus={limits.num_gpus}")
    if limits.resources:
        options.append(f"--resources={json.dumps(dict(limits.resources), sort_keys=True)}")
    if limits.isolation:
        options.append("--enable-resource-isolation")
        # Not Ray's default, the root of all groups that are to be seen.
        options.append(f"--cgroup-path={limits.cgroup}")
        if settings.limits.system_reserved_cpu is not None:
            options.append(f"--system-reserved-cpu={settings.limits.system_reserved_cpu}")
        if settings.limits.system_reserved_memory is not None:
            options.append(f"--system-reserved-memory={settings.limits.system_reserved_memory}")
    return options
