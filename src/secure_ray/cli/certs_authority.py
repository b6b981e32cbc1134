"""`secure-ray certs csr`, `import`, `export-root`: an issuing CA of somebody else's, a root key elsewhere."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from secure_ray.cli.down import AsJson, Cluster

if TYPE_CHECKING:
    from secure_ray.node.paths import ClusterPaths
    from secure_ray.pki.profiles import Owner
    from secure_ray.pki.store import PkiPaths


def add_to(group: typer.Typer) -> None:
    """Add the commands to `secure-ray certs`."""
    group.command()(csr)
    group.command("import")(import_)
    group.command("export-root")(export_root)


def csr(*, cluster: Cluster = None) -> None:
    """Print a request for an issuing CA, to be signed by your own root. Its key is made and stays here."""
    from secure_ray.cli.output import emit, say
    from secure_ray.pki.corporate import make_csr

    paths, pki, owner = _authority(cluster)
    emit(make_csr(pki, owner).decode().rstrip())
    say(
        f"have it signed as a CA with path length 0, then secure-ray certs import --cluster "
        f"{paths.name} ISSUING.crt ROOT.crt"
    )


def import_(
    issuing: Annotated[Path, typer.Argument(metavar="ISSUING", help="What came back, PEM.")],
    root: Annotated[Path, typer.Argument(metavar="ROOT", help="The root that signed it, PEM.")],
    *,
    cluster: Cluster = None,
    as_json: AsJson = False,
) -> None:
    """Take an issuing CA that your own root has signed into use.

    Under another root than the cluster's it begins a rotation of the root, which rotate-certs --resume finishes.
    """
    from secure_ray.base.clock import utc_now
    from secure_ray.cli.output import emit_json, say
    from secure_ray.pki.authority import Stage
    from secure_ray.pki.corporate import import_issuing

    paths, pki, owner = _authority(cluster)
    facts = import_issuing(
        pki,
        owner,
        certificate=_read(issuing),
        root=_read(root),
        addresses=_addresses(paths),
        now=utc_now(),
    )
    if as_json:
        emit_json("secure-ray/certs-import/1", {"stage": facts.stage.value, "pin": facts.old.pin})
    elif facts.stage is Stage.STEADY:
        say("it is in use: secure-ray rotate-certs --resume gives every node a certificate of it")
    else:
        say("it is the new root CA of a rotation: secure-ray rotate-certs --resume finishes that")


def export_root(
    to: Annotated[Path, typer.Argument(metavar="DIR", help="A directory, best on other media.")],
    *,
    cluster: Cluster = None,
    as_json: AsJson = False,
) -> None:
    """Copy the root key and its passphrase to a directory, and take the key off this machine.

    The issuing CA goes on without it; a new one, or a new root CA, needs it back for one run.
    """
    from secure_ray.cli.output import emit_json, say
    from secure_ray.pki.offline import export_root as export

    paths, pki, _ = _authority(cluster)
    exported = export(pki, to, cluster=paths.name)
    if as_json:
        data = {"key": str(exported.key), "passphrase": str(exported.passphrase)}
        emit_json("secure-ray/certs-export-root/1", data)
    else:
        say(f"the root key is in {exported.key}, what opens it in {exported.passphrase}")
        say("the key is not on this machine any more; keep the two apart")


def _authority(cluster: str | None) -> tuple[ClusterPaths, PkiPaths, Owner]:
    from secure_ray.base.errors import FailedError
    from secure_ray.node.cluster import read_cluster
    from secure_ray.node.identity import pki_paths
    from secure_ray.node.load import load_settings
    from secure_ray.node.paths import cluster_paths
    from secure_ray.node.start_again import start_again
    from secure_ray.pki.profiles import Owner

    paths = cluster_paths(os.environ, cluster)
    known = read_cluster(paths)
    if known is None or known.membership is not None:
        raise FailedError(
            "SR-STATE-004",
            f"there is no head called {paths.name} here, so no CA either",
            fix=f"run it on the head; {start_again(paths)} makes one",
        )
    loaded = load_settings(config=None, environ=os.environ, cwd=Path.cwd(), flags={})
    return paths, pki_paths(paths, loaded.resolved.settings.pki), Owner(paths.name, known.id)


def _addresses(paths: ClusterPaths) -> tuple[str, ...]:
    from secure_ray.gateway.nodes.members import list_members
    from secure_ray.gateway.nodes.register import find_register
    from secure_ray.node.instance import read_instance

    instance, register = read_instance(paths), find_register(paths.directory)
    addresses = {instance.plan.place.address} if instance else set()
    if register is not None:
        with register.reading() as database:
            members = [one for one in list_members(database) if one.revoked is None]
        addresses |= {word for member in members for word in (member.address, member.name)}
    return tuple(sorted(addresses))


def _read(path: Path) -> bytes:
    from secure_ray.base.file_errors import os_failure

    try:
        return path.read_bytes()
    except OSError as error:
        raise os_failure("read", path, error) from None
