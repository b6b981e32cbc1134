import resource
import stat
from pathlib import Path

import jinja2
import pytest

from secure_ray.base.errors import FailedError, UsageError
from secure_ray.deploy.render import render, template_text, write_new
from secure_ray.deploy.systemd import TEMPLATE


def test_a_value_that_is_missing_is_no_empty_text() -> None:
    with pytest.raises(jinja2.UndefinedError):
        render(TEMPLATE, {"user": "ray"}, {"quoted": str})


def test_a_template_that_is_missing_raises() -> None:
    with pytest.raises(FileNotFoundError):
        template_text("none")


def test_a_new_file_has_its_mode_whatever_the_umask(tmp_path: Path) -> None:
    write_new(tmp_path / "a", "text ü\n", mode=0o644)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o644
    assert (tmp_path / "a").read_bytes() == "text ü\n".encode()


def test_what_is_there_stays(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("mine")
    with pytest.raises(UsageError, match="is there already"):
        write_new(tmp_path / "a", "text", mode=0o600)
    assert (tmp_path / "a").read_text() == "mine"


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to(tmp_path / "b")
    with pytest.raises(UsageError):
        write_new(tmp_path / "a", "text", mode=0o600)
    assert not (tmp_path / "b").exists()


def test_a_directory_that_is_missing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FailedError, match="cannot write"):
        write_new(tmp_path / "none" / "a", "text", mode=0o600)


def test_nothing_is_left_of_a_file_that_could_not_be_written(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4, hard))
    try:
        with pytest.raises(FailedError, match="File too large"):
            write_new(tmp_path / "a", "more than four bytes", mode=0o600)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not (tmp_path / "a").exists()
