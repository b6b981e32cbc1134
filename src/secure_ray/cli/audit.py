"""`secure-ray audit`: prove the claims on the live cluster, or look at what would be started."""

from __future__ import annotations

import os
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from secure_ray.audit.findings import Report
    from secure_ray.node.paths import ClusterPaths


class Format(str, Enum):
    """How the report is printed."""

    TABLE = "table"
    JSON = "json"


class FailOn(str, Enum):
    """From which severity a finding makes the exit code 1."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(audit)


def audit(
    *,
    pre: Annotated[
        bool, typer.Option("--pre", help="Before a start: versions and known advisories.")
    ] = False,
    output: Annotated[Format, typer.Option("--format", help="How to print.")] = Format.TABLE,
    fail_on: Annotated[FailOn, typer.Option(help="Exit 1 from this severity on.")] = FailOn.HIGH,
    cluster: Annotated[
        str | None, typer.Option(help="Which cluster, when you run several.", metavar="NAME")
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            help="Settings file [that of the cluster's start]", metavar="FILE", show_default=False
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
) -> None:
    """Prove the promises on the live cluster.

    Every socket, file and process is compared with the plan, and every door is knocked on with
    no, wrong and right credentials. Exit code 0 when nothing is off, 1 for findings, 6 when a check could not run.
    """
    from secure_ray.node.paths import cluster_paths

    paths = cluster_paths(os.environ, cluster)
    report = _before(config) if pre else _live(paths, config)
    _show(report, as_json=as_json or output is Format.JSON, each=pre)
    raise typer.Exit(_exit_code(report, fail_on))


def _live(paths: ClusterPaths, config: Path | None) -> Report:
    from secure_ray.audit.live import audit_instance
    from secure_ray.base.clock import utc_now
    from secure_ray.node.advisories import read_advisories
    from secure_ray.node.instance import require_running
    from secure_ray.node.load import load_settings, named_settings_file

    instance = require_running(paths)
    named = named_settings_file(config, os.environ, instance.plan.settings_file)
    settings = load_settings(config=named, environ=os.environ, cwd=Path.cwd(), flags={})
    book = read_advisories(settings.resolved.settings.advisories.files)
    return audit_instance(instance, book, clock=utc_now)


def _before(config: Path | None) -> Report:
    from secure_ray.audit.before import examine
    from secure_ray.base.clock import utc_now

    return examine(config=config, environ=os.environ, cwd=Path.cwd(), clock=utc_now)


def _show(report: Report, *, as_json: bool, each: bool) -> None:
    from secure_ray.audit.render import as_lines
    from secure_ray.cli.output import emit, emit_json

    if as_json:
        data = report.to_json()
        emit_json(str(data.pop("schema")), data)
    else:
        emit("\n".join(as_lines(report, each=each)))


def _exit_code(report: Report, fail_on: FailOn) -> int:
    from secure_ray.audit.findings import Severity
    from secure_ray.base.errors import InconclusiveError, SecureRayError

    if report.failed(Severity[fail_on.name]):
        return SecureRayError.exit_code
    return InconclusiveError.exit_code if report.errors else 0
