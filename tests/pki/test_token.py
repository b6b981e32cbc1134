"""Ray's token is made once, and what is not a token is not touched."""

import re
import stat
from pathlib import Path

import pytest

from secure_ray.base.errors import FailedError
from secure_ray.base.files import write_private
from secure_ray.pki.token import ensure_token

TOKEN = "0123456789abcdef" * 4


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "token"


def test_a_token_has_256_bits_as_hexadecimal_digits_and_nothing_else(path: Path) -> None:
    assert ensure_token(path) is True
    assert re.fullmatch(rb"[0-9a-f]{64}", path.read_bytes())
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_two_tokens_differ(tmp_path: Path) -> None:
    ensure_token(tmp_path / "a" / "token")
    ensure_token(tmp_path / "b" / "token")

    assert (tmp_path / "a/token").read_bytes() != (tmp_path / "b/token").read_bytes()


def test_a_token_that_is_there_stays(path: Path) -> None:
    ensure_token(path)
    before = path.read_bytes()

    assert ensure_token(path) is False
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "content",
    [
        "",
        TOKEN[:-1],
        TOKEN + "0",
        TOKEN + "\n",
        TOKEN + "\r\n",
        " " + TOKEN,
        TOKEN.upper(),
        "g" * 64,
    ],
    ids=["empty", "short", "long", "newline", "crlf", "space", "upper case", "not hexadecimal"],
)
def test_anything_else_is_refused_and_neither_shown_nor_overwritten(
    path: Path, content: str
) -> None:
    ensure_token(path)
    write_private(path, content.encode())

    with pytest.raises(FailedError, match="SR-PKI-012") as caught:
        ensure_token(path)
    assert path.read_bytes() == content.encode()
    assert not content.strip() or content.strip() not in str(caught.value) + caught.value.fix


def test_a_token_open_to_others_is_refused(path: Path) -> None:
    ensure_token(path)
    path.chmod(0o644)

    with pytest.raises(FailedError, match="SR-FILE-002"):
        ensure_token(path)


@pytest.mark.parametrize("target", ["elsewhere", "missing"])
def test_a_link_in_its_place_is_refused(path: Path, target: str) -> None:
    ensure_token(path.with_name("elsewhere"))
    path.symlink_to(target)

    with pytest.raises(FailedError, match="SR-FILE-001"):
        ensure_token(path)
    assert not path.with_name("missing").exists()
