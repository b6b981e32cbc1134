"""What a certificate says is told as plain values."""

from __future__ import annotations

import ssl
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from hashlib import sha256
from typing import TYPE_CHECKING

import pytest

from secure_ray.base.errors import FailedError
from secure_ray.base.files import write_private
from secure_ray.pki.facts import CertificateFacts, read_facts

if TYPE_CHECKING:
    from pathlib import Path

    from pki.conftest import Node

START = datetime(2030, 1, 1, tzinfo=timezone.utc)
FACTS = CertificateFacts(
    "CN=a", "CN=b", "1f", START - timedelta(minutes=5), START + timedelta(days=100), "00", ()
)


@pytest.mark.parametrize(
    ("days", "used"), [(-10, -0.1), (0, 0.0), (50, 0.5), (100, 1.0), (200, 2.0)]
)
def test_life_used_goes_from_nought_to_one_and_beyond(days: int, used: float) -> None:
    assert FACTS.life_used(START + timedelta(days=days)) == pytest.approx(used)


def test_the_first_certificate_of_a_file_is_told(born: Node) -> None:
    certificate = born.paths.leaf.certificate
    first = certificate.read_text().split("-----END CERTIFICATE-----")[0]
    der = ssl.PEM_cert_to_DER_cert(first + "-----END CERTIFICATE-----\n")

    facts = read_facts(certificate)

    assert facts.fingerprint == sha256(der).hexdigest()
    assert facts.subject.startswith("CN=secure-ray node,")
    assert facts.issuer.startswith("CN=secure-ray issuing CA ")
    assert facts.sans == ("127.0.0.1", "::1", "localhost")
    assert facts.not_before == datetime(2030, 1, 1, 11, 55, tzinfo=timezone.utc)
    assert facts.not_after == datetime(2030, 4, 1, 12, tzinfo=timezone.utc)
    assert int(facts.serial, 16) > 0


@pytest.mark.parametrize("content", [b"", b"text", b"-----BEGIN CERTIFICATE-----\nAAAA\n"])
def test_a_file_without_a_certificate_is_an_error(tmp_path: Path, content: bytes) -> None:
    write_private(tmp_path / "x.crt", content)

    with pytest.raises(FailedError, match="SR-PKI-011"):
        read_facts(tmp_path / "x.crt")


def test_the_names_that_others_import_do_not_import_cryptography() -> None:
    """`secure-ray status` and `--help` have no time for it."""
    code = (
        "import sys, secure_ray.pki.credentials, secure_ray.pki.token;"
        "sys.exit('cryptography' in sys.modules)"
    )

    subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:0] = {sys.path!r}; {code}"], check=True
    )
