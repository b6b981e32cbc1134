import os
from pathlib import Path

import pytest

from secure_ray.base.errors import UsageError
from secure_ray.node.load import Loaded, load_settings, read_trusted, user_settings_file

STRANGER = 12345


@pytest.fixture
def home(tmp_path: Path) -> Path:
    path = tmp_path / "home"
    path.mkdir()
    return path


@pytest.fixture
def work(tmp_path: Path) -> Path:
    path = tmp_path / "a project ü"
    path.mkdir()
    return path


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o644)
    return path


def load(
    home: Path,
    work: Path,
    *,
    config: Path | None = None,
    environ: dict[str, str] | None = None,
    flags: dict[str, object] | None = None,
) -> Loaded:
    return load_settings(
        config=config, environ={"HOME": str(home), **(environ or {})}, cwd=work, flags=flags or {}
    )


def num_cpus(loaded: Loaded) -> tuple[int | None, str]:
    return loaded.resolved.settings.limits.num_cpus, loaded.resolved.origin["limits.num_cpus"]


def test_without_files_all_is_default(home: Path, work: Path) -> None:
    loaded = load(home, work)
    assert num_cpus(loaded) == (None, "default")
    assert loaded.files == ()


def test_the_first_settings_file_found_is_the_only_one(home: Path, work: Path) -> None:
    environ = {"SECURE_RAY_CONFIG": str(work / "named.toml")}
    users = write(user_settings_file({"HOME": str(home)}), "[limits]\nnum_cpus = 1")
    assert num_cpus(load(home, work)) == (1, f"file {users}")
    local = write(work / "secure-ray.toml", "[limits]\nnum_cpus = 2")
    assert num_cpus(load(home, work)) == (2, f"file {local}")
    named = write(work / "named.toml", "[limits]\nnum_cpus = 3")
    assert num_cpus(load(home, work, environ=environ)) == (3, f"file {named}")
    chosen = write(work / "chosen.toml", "[limits]\nnum_cpus = 4")
    loaded = load(home, work, config=Path("chosen.toml"), environ=environ)
    assert num_cpus(loaded) == (4, f"file {chosen}")
    assert loaded.files == (chosen,)


def test_later_places_win(home: Path, work: Path) -> None:
    write(work / "secure-ray.toml", "[limits]\nnum_cpus = 1\nnum_gpus = 0")
    environ: dict[str, str] = {}
    flags: dict[str, object] = {}
    dotenv = write(work / ".env", "SECURE_RAY_LIMITS__NUM_CPUS=2\nOTHER=x\n")
    loaded = load(home, work)
    assert num_cpus(loaded) == (2, f"file {dotenv} SECURE_RAY_LIMITS__NUM_CPUS")
    assert dict(loaded.dotenv) == {"OTHER": "x"}
    environ["SECURE_RAY_LIMITS__NUM_CPUS"] = "3"
    assert num_cpus(load(home, work, environ=environ)) == (
        3,
        "variable SECURE_RAY_LIMITS__NUM_CPUS",
    )
    flags["limits.num_cpus"] = 4
    assert num_cpus(load(home, work, environ=environ, flags=flags)) == (4, "flag --num-cpus")


def test_the_directory_for_settings_follows_the_platform(home: Path) -> None:
    environ = {"HOME": str(home), "XDG_CONFIG_HOME": "/etc/xdg-mine"}
    assert user_settings_file(environ) == Path("/etc/xdg-mine/secure-ray/secure-ray.toml")
    environ["XDG_CONFIG_HOME"] = "relative"
    assert user_settings_file(environ).is_relative_to(home)


@pytest.mark.parametrize("variable", ["--config", "SECURE_RAY_CONFIG"])
def test_a_named_file_that_is_missing_is_an_error(home: Path, work: Path, variable: str) -> None:
    config = Path("none.toml") if variable == "--config" else None
    environ = {} if config else {"SECURE_RAY_CONFIG": "none.toml"}
    with pytest.raises(UsageError, match=r"none\.toml does not exist") as caught:
        load(home, work, config=config, environ=environ)
    assert caught.value.code == "SR-CFG-004"


@pytest.mark.parametrize("name", ["secure-ray.toml", ".env"])
@pytest.mark.parametrize("mode", [0o664, 0o646, 0o666, 0o620])
def test_a_file_that_others_may_write_is_not_read(
    home: Path, work: Path, name: str, mode: int
) -> None:
    write(work / name, "").chmod(mode)
    with pytest.raises(UsageError, match="others may write") as caught:
        load(home, work)
    assert caught.value.code == "SR-CFG-005"


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give a file away")
@pytest.mark.parametrize("name", ["secure-ray.toml", ".env"])
def test_a_file_of_somebody_else_is_not_read(home: Path, work: Path, name: str) -> None:
    os.chown(write(work / name, ""), STRANGER, STRANGER)
    with pytest.raises(UsageError, match=f"uid {STRANGER}") as caught:
        load(home, work)
    assert caught.value.code == "SR-CFG-005"


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give a link away")
def test_a_link_of_somebody_else_is_not_followed(home: Path, work: Path) -> None:
    link = work / "secure-ray.toml"
    link.symlink_to(write(home / "other.toml", ""))
    os.chown(link, STRANGER, STRANGER, follow_symlinks=False)
    with pytest.raises(UsageError, match=f"uid {STRANGER}"):
        load(home, work)


def test_a_link_of_ours_is_followed(home: Path, work: Path) -> None:
    (work / "secure-ray.toml").symlink_to(write(home / "x.toml", "[limits]\nnum_cpus = 2"))
    assert num_cpus(load(home, work))[0] == 2


def test_what_a_link_of_ours_points_at_is_judged_too(home: Path, work: Path) -> None:
    target = write(home / "x.toml", "")
    target.chmod(0o666)
    (work / "secure-ray.toml").symlink_to(target)
    with pytest.raises(UsageError, match="others may write"):
        load(home, work)


def test_a_link_to_nothing_is_an_error(home: Path, work: Path) -> None:
    (work / "secure-ray.toml").symlink_to(work / "gone")
    with pytest.raises(UsageError, match="No such file"):
        load(home, work)


def test_a_named_pipe_is_refused_and_not_waited_for(work: Path) -> None:
    os.mkfifo(work / "pipe", 0o600)
    with pytest.raises(UsageError, match="not a regular file"):
        read_trusted(work / "pipe")


def test_a_directory_is_refused(work: Path) -> None:
    work.chmod(0o755)
    with pytest.raises(UsageError, match="not a regular file"):
        read_trusted(work)


def test_a_virtual_environment_named_dotenv_is_left_alone(home: Path, work: Path) -> None:
    (work / ".env").mkdir()
    assert load(home, work).files == ()


def test_a_huge_file_is_refused(work: Path) -> None:
    with pytest.raises(UsageError, match="larger than"):
        read_trusted(write(work / "x.toml", "#" * ((1 << 20) + 1)))


def test_a_file_that_is_no_text_is_refused(work: Path) -> None:
    path = write(work / "x.toml", "")
    path.write_bytes(b"a = '\xff'")
    with pytest.raises(UsageError, match="not UTF-8"):
        read_trusted(path)
