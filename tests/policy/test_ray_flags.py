"""What the policy reads after `--` is what Ray's parser will read, or it is refused."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secure_ray.base.errors import UsageError
from secure_ray.policy.knobs import Kind, find_knob
from secure_ray.policy.ray_flags import (
    OPTIONS,
    SWITCHES,
    WITH_VALUE,
    parse_ray_flags,
    render_ray_flags,
)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], []),
        (["--num-cpus=2"], [("--num-cpus", "2")]),
        (["--num-cpus", "2"], [("--num-cpus", "2")]),
        (["--labels=a=b"], [("--labels", "a=b")]),
        (["--labels", "a=b", "--head"], [("--labels", "a=b"), ("--head", True)]),
        (["--dashboard-host="], [("--dashboard-host", "")]),
        (["--node-name=--head"], [("--node-name", "--head")]),
        (["--include-dashboard", "false"], [("--include-dashboard", "false")]),
        (["--no-monitor", "-v", "-v"], [("--no-monitor", True), ("-v", True), ("-v", True)]),
        (["--port=1", "--port", "2"], [("--port", "1"), ("--port", "2")]),
        (["--unheard-of"], [("--unheard-of", True)]),
        (["--unheard-of", "x", "--head"], [("--unheard-of", "x"), ("--head", True)]),
        (["--unheard-of=x"], [("--unheard-of", "x")]),
        (["--no-unheard-of"], [("--no-unheard-of", True)]),
    ],
    ids=str,
)
def test_options_are_read(words: list[str], expected: list[tuple[str, object]]) -> None:
    requests = parse_ray_flags(words)

    assert [(request.name, request.value) for request in requests] == expected
    assert all(request.kind is Kind.FLAG and request.explicit for request in requests)
    assert [request.source for request in requests] == [f"flag {name}" for name, _ in expected]


@pytest.mark.parametrize(
    ("words", "fix"),
    [
        (["start"], "--name=value"),
        (["--head", "x"], "--name=value"),
        (["--"], "--name=value"),
        (["-"], "--name=value"),
        (["-x"], "--name=value"),
        (["-vv"], "--name=value"),
        (["-p=1"], "--name=value"),
        (["--Head"], "--name=value"),
        (["--dashboard_host=0.0.0.0"], "--name=value"),
        (["--=x"], "--name=value"),
        ([""], "--name=value"),
        (["--dashboard-h=0.0.0.0"], "--dashboard-host"),
        (["--dashboard", "x"], "--dashboard-agent-grpc-port or"),
        (["--head=true"], "--head"),
        (["--num-cpus"], "--num-cpus=VALUE"),
        (["--num-cpus", "--head"], "--num-cpus=VALUE"),
        (["--node-name", "-1"], "--node-name=VALUE"),
    ],
    ids=str,
)
def test_what_could_be_read_in_two_ways_is_refused(words: list[str], fix: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_ray_flags(words)

    assert caught.value.code == "SR-RAY-009"
    assert fix in caught.value.fix


def test_a_refused_word_cannot_steer_the_terminal() -> None:
    with pytest.raises(UsageError) as caught:
        parse_ray_flags(["\x1b[2J"])

    assert "\x1b" not in str(caught.value)


@given(st.lists(st.text(max_size=12) | st.sampled_from(sorted(OPTIONS)), max_size=6))
def test_any_words_are_read_or_refused(words: list[str]) -> None:
    try:
        requests = parse_ray_flags(words)
    except UsageError:
        return
    assert all(request.name.startswith("-") for request in requests)


_OPTION = st.sampled_from(sorted(WITH_VALUE))
_PAIR = st.tuples(_OPTION, st.text(max_size=8)) | st.tuples(
    st.sampled_from(sorted(SWITCHES)), st.just(value=True)
)


@given(st.lists(_PAIR, max_size=6))
def test_what_is_rendered_is_read_back(pairs: list[tuple[str, object]]) -> None:
    words = [name if value is True else f"{name}={value}" for name, value in pairs]

    requests = parse_ray_flags(words)

    assert [(request.name, request.value) for request in requests] == pairs
    assert parse_ray_flags(render_ray_flags(requests)) == requests


@pytest.mark.parametrize("option", sorted(OPTIONS))
def test_every_option_has_a_row(option: str) -> None:
    assert find_knob(Kind.FLAG, option) is not None


def test_every_option_of_the_installed_ray_is_known() -> None:
    """A new Ray with a new option is noticed here."""
    scripts = pytest.importorskip("ray.scripts.scripts")
    switches: set[str] = set()
    with_value: set[str] = set()
    for option in scripts.start.params:
        takes_none = option.is_flag or option.count
        (switches if takes_none else with_value).update(option.opts)

    assert switches == SWITCHES
    assert with_value <= WITH_VALUE


@settings(deadline=None)  # the first example imports Ray
@given(st.lists(_PAIR, max_size=4))
def test_rays_own_parser_reads_the_same(pairs: list[tuple[str, object]]) -> None:
    start = pytest.importorskip("ray.scripts.scripts").start
    known = {name for option in start.params for name in option.opts}
    pairs = [pair for pair in pairs if pair[0] in known]
    words = [name if value is True else f"{name}={value}" for name, value in pairs]

    parser = start.make_parser(start.make_context("start", [], resilient_parsing=True))
    values, rest, _ = parser.parse_args(list(render_ray_flags(parse_ray_flags(words))))

    assert rest == []
    for name, value in dict(pairs).items():
        if name in WITH_VALUE:
            assert values[name[2:].replace("-", "_")] == value
