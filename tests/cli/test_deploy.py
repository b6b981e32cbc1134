import stat
from pathlib import Path

import pytest

from secure_ray.cli.main import main


def test_the_unit_is_printed_and_where_to_put_it_is_said(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["deploy", "systemd", "--user", "ray", "--cluster", "team-a"]) == 0
    out, err = capsys.readouterr()
    assert "User=ray\n" in out
    assert "up --head --block --cluster team-a\n" in out
    assert "/etc/systemd/system/secure-ray-team-a.service" in err


def test_the_unit_is_written_where_wanted(tmp_path: Path) -> None:
    arguments = ["deploy", "systemd", "--user", "ray", "--name", "mine", "--output", str(tmp_path)]
    assert main(arguments) == 0
    unit = tmp_path / "mine.service"
    assert stat.S_IMODE(unit.stat().st_mode) == 0o644
    before = unit.read_text()
    assert main([*arguments, "--cluster", "other"]) == 2
    assert before == unit.read_text()


def test_a_bad_value_exits_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["deploy", "systemd", "--user", "ray\nExecStartPre=/bin/sh"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "SR-DEPLOY-001" in err
