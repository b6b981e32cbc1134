"""Where `up --join` has its string from, and what it makes of it."""

from __future__ import annotations

import os
import pty
import select
import sys
from contextlib import ExitStack
from dataclasses import replace
from threading import Timer
from typing import TYPE_CHECKING, Any

import pytest

from secure_ray.base.errors import FailedError, UsageError
from secure_ray.cli.joining import Join, joined_before, read_join, towards
from secure_ray.gateway.nodes.members import list_members
from secure_ray.node.cluster import Membership, read_cluster
from secure_ray.node.decide import Wish
from secure_ray.node.paths import ClusterPaths
from secure_ray.pki.join_string import Endpoint
from support.doors import LOOPBACK, VERSIONS, Head
from support.plans import decision_of, ports_of, settings_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from secure_ray.pki.join_string import JoinString


PORTS = ports_of(settings_of(), private=True)


@pytest.fixture
def head(tmp_path: Path) -> Head:
    """A head with its door closed."""
    return Head(tmp_path / "head", port=20490)


@pytest.fixture
def string(head: Head) -> JoinString:
    return head.invite()


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Standard input that holds a text; its other end."""
    with ExitStack() as stack:

        def typed(text: str | bytes, *, terminal: bool = False, ends: bool = True) -> int:
            writer, reader = pty.openpty() if terminal else os.pipe()[::-1]
            content = text.encode() if isinstance(text, str) else text
            os.write(writer, content)
            stack.callback(os.close, reader)
            if ends and not terminal:
                os.close(writer)
            else:
                stack.callback(os.close, writer)
            monkeypatch.setattr("secure_ray.cli.joining._STANDARD_INPUT", reader)
            typed.writer = writer  # type: ignore[attr-defined]
            return reader

        yield typed


def text_of(string: JoinString) -> str:
    return str(string.text().reveal())


def test_string_comes_from_standard_input(
    typed: Any, string: JoinString, capsys: pytest.CaptureFixture[str]
) -> None:
    typed(f"{text_of(string)}\n")

    assert read_join("-", "w1") == Join(string, "w1")
    assert capsys.readouterr() == ("", "")


def test_terminal_is_asked_and_read_to_the_end_of_the_line(
    typed: Any, string: JoinString, capsys: pytest.CaptureFixture[str]
) -> None:
    typed(f"{text_of(string)}\nnot read\n", terminal=True)

    assert read_join("-", "w1").string == string
    told = capsys.readouterr()
    assert "paste the join string" in told.out + told.err
    assert text_of(string) not in told.out + told.err


def test_endless_input_is_not_read_to_its_end(typed: Any) -> None:
    reader = typed("x" * 50_000)

    with pytest.raises(UsageError) as caught:
        read_join("-", "w1")

    assert caught.value.code == "SR-JOIN-001"
    assert len(os.read(reader, 100_000)) > 40_000


@pytest.mark.parametrize("terminal", [False, True])
def test_wrapped_string_is_read_to_its_end(
    typed: Any, string: JoinString, *, terminal: bool
) -> None:
    text = text_of(string)
    reader = typed(f"{text[:60]}\n{text[60:90]}\n  {text[90:]}\n", terminal=terminal, ends=False)

    assert read_join("-", "w1").string == string
    assert select.select([reader], [], [], 0)[0] == []  # nothing of it goes to the shell


@pytest.mark.parametrize("seconds", [0.2, 0.9])
def test_rest_may_come_a_little_later(typed: Any, string: JoinString, *, seconds: float) -> None:
    """The terminal hands over the last line when a person presses Enter."""
    text = text_of(string)
    reader = typed(f"{text[:60]}\n", terminal=True)
    later = Timer(seconds, os.write, (typed.writer, f"{text[60:]}\n".encode()))
    later.start()

    assert read_join("-", "w1").string == string
    later.join()
    assert select.select([reader], [], [], 0)[0] == []


def test_rest_of_a_damaged_paste_does_not_go_to_the_shell(
    typed: Any, string: JoinString, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("secure_ray.cli.pasting._ENTER_SECONDS", 0.1)
    text = text_of(string)
    reader = typed(f"{text[:40]}\n{text[40:-1]}", terminal=True)

    with pytest.raises(UsageError):
        read_join("-", "w1")

    os.write(typed.writer, b"\n")  # the person presses Enter, and the shell reads on
    assert os.read(reader, 999) == b"\n"


def test_pipe_that_nothing_comes_through_is_told_and_given_up(
    typed: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("secure_ray.cli.pasting._QUIET_SECONDS", 0.05)
    monkeypatch.setattr("secure_ray.cli.pasting._PIPE_SECONDS", 0.2)
    typed("SRJ1-", ends=False)

    with pytest.raises(UsageError) as caught:
        read_join("-", "w1")

    assert caught.value.code == "SR-JOIN-053"
    assert "waiting for a join string" in capsys.readouterr().err


def test_what_is_no_text_is_an_altered_string(typed: Any) -> None:
    typed(b"SRJ1-abcdefgh-\xff\xffAAAA-123456")

    with pytest.raises(UsageError) as caught:
        read_join("-", "w1")

    assert caught.value.code == "SR-JOIN-003"


@pytest.mark.parametrize("relative", [False, True])
def test_string_comes_from_a_file_of_ours(
    home: Path, monkeypatch: pytest.MonkeyPatch, string: JoinString, *, relative: bool
) -> None:
    file = home / "join"
    file.write_text(text_of(string) + "\n")
    file.chmod(0o600)
    monkeypatch.chdir(home)

    assert read_join("join" if relative else str(file), "w1").string == string


@pytest.mark.parametrize("mode", [0o640, 0o604])
def test_file_that_others_can_read_is_refused(home: Path, string: JoinString, mode: int) -> None:
    file = home / "join"
    file.write_text(text_of(string))
    file.chmod(mode)

    with pytest.raises(FailedError) as caught:
        read_join(str(file), "w1")

    assert caught.value.code == "SR-FILE-002"


def test_string_on_the_command_line_is_taken_with_a_warning(
    string: JoinString, capsys: pytest.CaptureFixture[str]
) -> None:
    assert read_join(text_of(string), "w1").string == string

    told = capsys.readouterr()
    assert "every user of this host can see it" in told.err
    assert text_of(string) not in told.out + told.err


@pytest.mark.parametrize("name", ["", "W1", "a b", "a.b", "-a", "17", "head", "a" * 64])
def test_name_that_is_none_is_refused_before_anything_is_read(typed: Any, name: str) -> None:
    reader = typed("untouched")

    with pytest.raises(UsageError) as caught:
        read_join("-", name)

    assert caught.value.code == "SR-JOIN-049"
    assert os.read(reader, 99) == b"untouched"


def test_node_is_named_after_its_host(monkeypatch: pytest.MonkeyPatch, string: JoinString) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "Gpu_3.example.org")

    assert read_join(text_of(string), None).name == "gpu-3"


def test_node_that_joins_again_keeps_its_name(string: JoinString) -> None:
    known = Membership("id", "w7", "10.0.0.7", "10.0.0.5", 20490, PORTS)

    assert read_join(text_of(string), None, known).name == "w7"
    assert read_join(text_of(string), "w8", known).name == "w8"


def test_secret_is_not_shown_with_the_wish(string: JoinString) -> None:
    secret = text_of(string)

    assert secret[-12:] not in repr(Join(string, "w1"))


def test_worker_listens_towards_its_head() -> None:
    assert towards(Wish(flags={"a": 1}), "10.77.0.1") == Wish(flags={"a": 1}, towards="10.77.0.1")


@pytest.fixture
def open_head(tmp_path: Path) -> Iterator[Head]:
    head = Head(tmp_path / "open")
    head.facts = replace(
        head.facts,
        ports='{"base": 10240, "ports": [], "first_worker": 1, "last_worker": 2}',
        versions=VERSIONS | {"python": ".".join(map(str, sys.version_info[:3]))},
    )
    with head.open():
        yield head


def test_wish_is_fulfilled_once(
    open_head: Head, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("secure_ray.cli.joining.version", lambda _: VERSIONS["secure-ray"])
    paths, decision = ClusterPaths(home, "default"), decision_of(address=LOOPBACK)
    assert joined_before(paths) is None

    first = Join(open_head.invite(), "w1").fulfil(paths, decision)

    assert first == ["joined as w1 (127.0.0.1)"]
    known = joined_before(paths)
    assert known is not None
    assert (known.name, known.head) == ("w1", "10.0.0.5")
    cluster = read_cluster(paths)
    string = open_head.invite(heads=(Endpoint("10.0.0.5", open_head.port),))
    again = Join(string, "w1").fulfil(paths, decision)
    assert again == ["this host has joined that cluster before; the join string was not used"]
    assert read_cluster(paths) == cluster
    assert any((paths.pki / "node").iterdir())


def test_without_the_guard_no_token_is_spent(
    open_head: Head, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("secure_ray.network.guard.library._HERE", home)
    monkeypatch.setattr("secure_ray.network.guard.library.guard_library.__defaults__", (home,))
    string = open_head.invite()

    with pytest.raises(FailedError) as caught:
        Join(string, "w1").fulfil(ClusterPaths(home, "default"), decision_of(address=LOOPBACK))

    assert caught.value.code == "SR-GUARD-001"
    with open_head.register.reading() as database:
        assert list_members(database) == ()
