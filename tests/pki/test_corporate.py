"""An issuing CA under somebody else's root: what fits is taken, all else is refused by name."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from datetime import timedelta
from ipaddress import ip_network
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from pki.conftest import BIRTH, OWNER, SANS, Node
from secure_ray.base.errors import FailedError, UsageError
from secure_ray.base.files import write_private
from secure_ray.pki.authority import Stage
from secure_ray.pki.corporate import import_issuing, make_csr
from secure_ray.pki.profiles import as_authority
from secure_ray.pki.store import PkiPaths
from secure_ray.pki.trust import certificates_to_pem, is_believed
from support.power import fits, survives

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from secure_ray.pki.rotation_facts import RotationFacts

DAY = timedelta(days=1)
ADDRESSES = ("10.0.0.5", "head.example.com")
EVERYWHERE = [
    x509.IPAddress(ip_network("10.0.0.0/8")),
    x509.IPAddress(ip_network("127.0.0.0/8")),
    x509.IPAddress(ip_network("::1/128")),
    x509.DNSName("localhost"),
    x509.DNSName("example.com"),
]


@dataclass
class Corporate:
    """A root of somebody else, who signs what the request asks for, or not quite."""

    key: Any
    certificate: x509.Certificate

    @classmethod
    def make(cls, *, path_length: int | None = 1, days: int = 3650, rsa_: bool = True) -> Corporate:
        key = (
            rsa.generate_private_key(65537, 3072)
            if rsa_
            else ec.generate_private_key(ec.SECP384R1())
        )
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Example Corp Root")])
        builder = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(BIRTH - DAY)
            .not_valid_after(BIRTH + days * DAY)
            .add_extension(
                x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False
            )
        )
        if path_length is not None:
            basic = x509.BasicConstraints(
                ca=path_length >= 0, path_length=max(path_length, 0) if path_length >= 0 else None
            )
            builder = builder.add_extension(basic, critical=True)
        return cls(key, builder.sign(key, SHA256()))

    def sign(self, csr: bytes, **change: Any) -> bytes:
        """The certificate that the request asks for, but for what `change` says."""
        request = x509.load_pem_x509_csr(csr)
        public = change.get("key", request.public_key())
        builder = (
            x509.CertificateBuilder()
            .subject_name(change.get("subject", request.subject))
            .issuer_name(self.certificate.subject)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(change.get("start", BIRTH - DAY))
            .not_valid_after(change.get("end", BIRTH + 365 * DAY))
        )
        if change.get("ski", True):
            ski = x509.SubjectKeyIdentifier.from_public_key(public)
            builder = builder.add_extension(ski, critical=False)
        aki = x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key())
        builder = builder.add_extension(aki, critical=False)
        if "basic" in change:
            builder = builder.add_extension(change["basic"], critical=True)
        else:
            builder = as_authority(builder, path_length=0)
        for extension in change.get("more", ()):
            builder = builder.add_extension(extension, critical=True)
        return certificates_to_pem(builder.sign(self.key, SHA256()))

    @property
    def pem(self) -> bytes:
        return certificates_to_pem(self.certificate)


@pytest.fixture(scope="module")
def corporate() -> Corporate:
    return Corporate.make()


def take(
    node: Node,
    corporate: Corporate,
    *,
    certificate: bytes | None = None,
    addresses: tuple[str, ...] = ADDRESSES,
    **change: Any,
) -> RotationFacts:
    made = corporate.sign(make_csr(node.paths, OWNER), **change)
    return import_issuing(
        node.paths,
        OWNER,
        certificate=certificate or made,
        root=corporate.pem,
        addresses=addresses,
        now=BIRTH,
    )


def test_a_request_asks_for_a_ca_of_this_cluster_and_keeps_its_key_here(node: Node) -> None:
    csr = make_csr(node.paths, OWNER)

    request = x509.load_pem_x509_csr(csr)
    assert request.is_signature_valid
    assert request.subject.rfc4514_string().endswith(",OU=c1d2e3f4,O=default")
    basic = request.extensions.get_extension_for_class(x509.BasicConstraints).value
    assert (basic.ca, basic.path_length) == (True, 0)
    assert oct((node.paths.request / "issuing.key").stat().st_mode)[-3:] == "600"
    assert make_csr(node.paths, OWNER) != b""
    again = x509.load_pem_x509_csr(make_csr(node.paths, OWNER))
    assert (again.subject, again.public_key()) == (request.subject, request.public_key())


def test_the_first_authority_can_be_somebody_elses(node: Node, corporate: Corporate) -> None:
    facts = take(node, corporate)
    made = node.ensure()

    assert (facts.stage, facts.old.root_key) == (Stage.STEADY, False)
    assert made.changes == ("leaf made: there was none",)
    assert node.ensure().changes == ()
    chain = x509.load_pem_x509_certificates(node.paths.leaf.certificate.read_bytes())
    assert is_believed(chain, [corporate.certificate])
    assert not node.paths.request.exists()


def test_its_renewal_goes_the_same_way(node: Node, corporate: Corporate) -> None:
    first = take(node, corporate).old
    node.ensure()

    second = take(node, corporate).old

    assert (second.root, second.issuing == first.issuing) == (first.root, False)
    assert node.ensure().changes == ("leaf renewed: it was not issued by the issuing CA here",)


def test_a_key_that_was_taken_waits_no_more(node: Node, corporate: Corporate) -> None:
    """A run was killed after it had taken the certificate, before it removed the request."""
    csr = make_csr(node.paths, OWNER)
    kept = (node.paths.request / "issuing.key").read_bytes()
    take(node, corporate)
    make_csr(node.paths, OWNER)
    write_private(node.paths.request / "issuing.key", kept)

    again = x509.load_pem_x509_csr(make_csr(node.paths, OWNER))

    assert again.public_key() != x509.load_pem_x509_csr(csr).public_key()


def test_when_it_is_due_the_way_is_told(node: Node, corporate: Corporate) -> None:
    take(node, corporate)
    node.ensure()

    [warning] = node.ensure(200 * DAY).warnings
    assert warning.startswith("issuing CA is due")
    with pytest.raises(FailedError, match="SR-PKI-006") as caught:
        node.ensure(366 * DAY)
    assert "secure-ray certs csr" in caught.value.fix


def test_another_clusters_directory_is_known_by_the_issuing_ca(
    node: Node, corporate: Corporate
) -> None:
    take(node, corporate)

    with pytest.raises(FailedError, match="SR-PKI-004"):
        node.ensure(cluster_id="another")


def test_beside_a_root_of_ours_it_begins_a_rotation(born: Node, corporate: Corporate) -> None:
    facts = take(born, corporate)

    assert facts.stage is Stage.BRIDGED
    born.ensure()
    born.turn("switch_root", "retire_root")
    born.ensure()
    assert born.authorities.current.root == corporate.certificate


def test_without_the_key_of_the_root_in_use_it_is_refused(born: Node, corporate: Corporate) -> None:
    born.paths.authority.root_key.unlink()

    with pytest.raises(FailedError, match=r"SR-PKI-017.*sign the new issuing CA once") as caught:
        take(born, corporate)
    assert "secure-ray reset" in caught.value.fix
    assert born.stage is Stage.STEADY


def test_while_a_root_is_rotated_none_is_imported(born: Node, corporate: Corporate) -> None:
    born.turn("begin_root")

    with pytest.raises(FailedError, match="SR-PKI-015"):
        take(born, corporate)


def test_none_is_put_where_a_root_is_gone(born: Node, corporate: Corporate) -> None:
    shutil.rmtree(born.paths.authorities.directory)

    with pytest.raises(FailedError, match="SR-PKI-003"):
        take(born, corporate)


def test_without_a_key_that_waits_there_is_nothing_to_import(
    node: Node, corporate: Corporate
) -> None:
    made = corporate.sign(make_csr(node.paths, OWNER))
    shutil.rmtree(node.paths.request)

    with pytest.raises(FailedError, match="SR-PKI-018"):
        import_issuing(
            node.paths, OWNER, certificate=made, root=corporate.pem, addresses=(), now=BIRTH
        )


OTHER_KEY = ec.generate_private_key(ec.SECP256R1()).public_key()
SIGNS_NOTHING = x509.KeyUsage(True, *[False] * 8)  # noqa: FBT003


def constrained(*permitted: x509.GeneralName, excluded: tuple[x509.GeneralName, ...] = ()) -> Any:
    return [x509.NameConstraints(list(permitted) or None, list(excluded) or None)]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"key": OTHER_KEY}, "for another key"),
        ({"subject": x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "x")])}, "OU=c1d2e3f4"),
        ({"start": BIRTH + DAY}, "not valid now"),
        ({"end": BIRTH - timedelta(hours=1)}, "not valid now"),
        ({"basic": x509.BasicConstraints(ca=False, path_length=None)}, "not a CA for leaves"),
        ({"basic": x509.BasicConstraints(ca=True, path_length=None)}, "not a CA for leaves"),
        ({"basic": x509.BasicConstraints(ca=True, path_length=1)}, "not a CA for leaves"),
        (
            {"basic": x509.BasicConstraints(ca=True, path_length=0), "more": [SIGNS_NOTHING]},
            "keyCertSign",
        ),
        ({"basic": x509.BasicConstraints(ca=True, path_length=0)}, "keyCertSign"),
        ({"ski": False}, "subject key identifier"),
        (
            {"more": [x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])]},
            "serverAuth or clientAuth",
        ),
        ({"more": constrained(*EVERYWHERE[1:])}, "permit 10.0.0.5"),
        ({"more": constrained(*EVERYWHERE[:-1])}, "permit head.example.com"),
        ({"more": constrained(EVERYWHERE[0])}, "permit 127.0.0.1"),
        ({"more": constrained(excluded=(EVERYWHERE[0],))}, "permit 10.0.0.5"),
        ({"more": constrained(excluded=(x509.DNSName("example.com"),))}, "permit head.example.com"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_does_not_fit_is_refused_by_name(
    node: Node, corporate: Corporate, change: dict[str, Any], words: str
) -> None:
    with pytest.raises(FailedError, match="SR-PKI-017") as caught:
        take(node, corporate, **change)

    assert words in caught.value.cause
    assert not node.paths.authorities.numbers()
    assert take(node, corporate).stage is Stage.STEADY  # the key still waits


def test_name_constraints_that_permit_the_nodes_are_taken_and_work(
    node: Node, corporate: Corporate
) -> None:
    take(node, corporate, more=constrained(*EVERYWHERE))

    assert node.ensure(sans=(*SANS, *ADDRESSES)).leaf.sans


@pytest.mark.parametrize(
    ("root", "words"),
    [
        ({"path_length": 0}, "allows no CA below"),
        ({"path_length": -1}, "the root is no CA"),
        ({"path_length": None}, "the root is no CA"),
        ({"days": 0}, "the root is not valid now"),
    ],
)
def test_a_root_that_is_none_is_refused(node: Node, root: dict[str, Any], words: str) -> None:
    with pytest.raises(FailedError, match="SR-PKI-017") as caught:
        take(node, Corporate.make(rsa_=False, **root))
    assert words in caught.value.cause


def test_all_that_is_wrong_is_told_at_once(node: Node, corporate: Corporate) -> None:
    with pytest.raises(FailedError) as caught:
        take(node, corporate, key=OTHER_KEY, ski=False)
    assert {"another key", "subject key"} <= {
        w for w in ("another key", "subject key") if w in caught.value.cause
    }


def test_a_certificate_of_another_root_is_refused(node: Node, corporate: Corporate) -> None:
    other = Corporate.make(rsa_=False)

    with pytest.raises(FailedError, match="not signed by that root"):
        take(node, other, certificate=corporate.sign(make_csr(node.paths, OWNER)))


@pytest.mark.parametrize("pem", [b"x", b""])
def test_a_file_that_is_no_certificate_is_refused(
    node: Node, corporate: Corporate, pem: bytes
) -> None:
    with pytest.raises(FailedError, match="SR-PKI-017"):
        take(node, corporate, certificate=pem or corporate.pem * 2)


def test_an_address_that_is_none_is_refused(node: Node, corporate: Corporate) -> None:
    with pytest.raises(UsageError, match="SR-PKI-010"):
        take(node, corporate, addresses=("*.example",))


@pytest.mark.parametrize("cut", [survives, fits], ids=["power cut", "disk full"])
@pytest.mark.parametrize("begun", [False, True], ids=["first", "rotation"])
def test_cut_off_anywhere_an_import_can_be_run_again(
    node: Node,
    tmp_path: Path,
    corporate: Corporate,
    cut: Callable[[Callable[[], object], int], bool],
    *,
    begun: bool,
) -> None:
    cuts, ended = 0, False
    while not ended:
        there = tmp_path / str(cuts)
        one = replace(node, paths=PkiPaths(there / "pki", there / "passphrases" / "default"))
        if begun:
            one.ensure()
        made = corporate.sign(make_csr(one.paths, OWNER))

        def run(one: Node = one, made: bytes = made) -> object:
            return import_issuing(
                one.paths, OWNER, certificate=made, root=corporate.pem, addresses=(), now=BIRTH
            )

        ended = cut(run, cuts)
        run()
        one.ensure()
        assert one.stage is (Stage.BRIDGED if begun else Stage.STEADY)
        assert one.ensure().changes == ()
        cuts += 1
    assert cuts > 8
