from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secure_ray.settings.convert import read_settings, spell_settings
from secure_ray.settings.fields import dotted, field_types, leaf_fields
from secure_ray.settings.model import Settings
from secure_ray.settings.problems import SettingsError
from secure_ray.settings.resolve import DEFAULT, HIDDEN, resolve, rows
from secure_ray.settings.sources import Source, from_environ, from_flags, from_toml

# Two allowed values for each of some settings, of every shape there is.
CHOICES: dict[tuple[str, ...], tuple[Any, Any]] = {
    ("ports", "gcs"): (6379, 6380),
    ("limits", "num_cpus"): (1, 2),
    ("limits", "memory"): ("4GiB", 1 << 30),
    ("limits", "resources", "a.b"): (1.0, 2.0),
    ("limits", "resources", "c"): (0.5, 3),
    ("logging", "level"): ("debug", "error"),
    ("metrics", "enabled"): (True, False),
    ("environment", "pass"): (["A"], []),
    ("environment", "set", "TOKEN"): ("x", ""),
    ("override", "SR-NET-002"): (
        {"until": "2027-01-31", "reason": "x"},
        {"until": "2028-01-31", "reason": "y"},
    ),
}


def nest(values: dict[tuple[str, ...], Any]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for path, value in values.items():
        table = nested
        for part in path[:-1]:
            table = table.setdefault(part, {})
        table[path[-1]] = value
    return nested


@st.composite
def given_values(draw: st.DrawFn) -> dict[tuple[str, ...], Any]:
    paths = draw(st.lists(st.sampled_from(sorted(CHOICES)), unique=True))
    return {path: draw(st.sampled_from(CHOICES[path])) for path in paths}


@given(st.lists(given_values(), max_size=4))
def test_the_last_source_wins_each_value_and_is_named(sources: list[dict[Any, Any]]) -> None:
    resolved = resolve(
        [Source(f"source {number}", nest(values)) for number, values in enumerate(sources)]
    )
    winners = {
        path: (value, f"source {number}")
        for number, values in enumerate(sources)
        for path, value in values.items()
    }
    alone = nest({path: value for path, (value, _) in winners.items()})
    assert read_settings(alone) == resolved.settings
    for path, (_, source) in winners.items():
        assert source == resolved.origin[dotted(path)]
    named = {dotted(path) for path in winners}
    assert all(origin == DEFAULT for key, origin in resolved.origin.items() if key not in named)


@given(given_values())
def test_spelled_settings_read_back_the_same(values: dict[tuple[str, ...], Any]) -> None:
    settings = read_settings(nest(values))
    assert settings == read_settings(spell_settings(settings))


@given(st.lists(given_values(), max_size=3))
def test_every_setting_is_listed_once_with_its_origin(sources: list[dict[Any, Any]]) -> None:
    resolved = resolve([Source("file", nest(values)) for values in sources])
    listed = rows(resolved)
    assert dict(resolved.origin) == {row.key: row.origin for row in listed}
    assert len(listed) == len(resolved.origin)


def test_without_sources_all_is_default() -> None:
    resolved = resolve([])
    assert resolved.settings == Settings()
    assert set(resolved.origin.values()) == {DEFAULT}
    assert set(resolved.origin) == {dotted(path) for path in leaf_fields()}


def test_chosen_variables_are_listed_without_their_values() -> None:
    resolved = resolve([from_toml('[environment]\nset = {TOKEN = "hunter2"}', "file x")])
    shown = {row.key: row.value for row in rows(resolved)}
    assert shown["environment.set.TOKEN"] == HIDDEN
    assert "hunter2" not in str(rows(resolved))


def complaints(*sources: Source) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        resolve(sources)
    assert caught.value.exit_code == 2
    return [str(problem) for problem in caught.value.problems]


def test_every_problem_of_every_source_is_told_at_once() -> None:
    assert complaints(
        from_toml('[limits]\nnum_cpus = "4"\nmemori = 1\n[logging]\nlevel = "loud"', "file x"),
        from_environ({"SECURE_RAY_METRICS__ENABLED": "yes"}, "variable"),
        from_flags({"limits.memory": "4G"}),
    ) == [
        'limits.num_cpus = "4" should be a whole number (file x)',
        "limits.memori is not a setting; did you mean limits.memory? (file x)",
        "logging.level = \"loud\" should be 'debug', 'info', 'warning' or 'error' (file x)",
        'metrics.enabled = "yes" should be true or false (variable SECURE_RAY_METRICS__ENABLED)',
        (
            'limits.memory = "4G" should be a size such as "4GiB", "512MB" or a whole number of bytes;'
            " the units are B, KB, KiB, MB, MiB, GB, GiB, TB, TiB (flag --memory)"
        ),
    ]


def test_a_wrong_value_is_refused_even_where_a_later_one_would_win() -> None:
    assert complaints(
        from_toml('[limits]\nnum_cpus = "4"', "file x"), from_flags({"limits.num_cpus": 4})
    ) == ['limits.num_cpus = "4" should be a whole number (file x)']


def test_a_conflict_between_sources_names_them() -> None:
    assert complaints(
        from_toml("[ports]\ngcs = 7000", "file x"), from_flags({"ports.dashboard": 7000})
    ) == ["ports gives port 7000 to both gcs and dashboard (file x, flag --dashboard)"]


def test_sources_that_fit_together_need_not_fit_the_defaults() -> None:
    resolved = resolve(
        [from_flags({"pki.issuing_days": 30}), from_toml("[pki]\nleaf_days = 10", "file x")]
    )
    assert (resolved.settings.pki.leaf_days, resolved.settings.pki.issuing_days) == (10, 30)


@pytest.mark.parametrize(
    ("values", "allowed"),
    [
        ({"ports": {"gcs": 80}}, "ports.gcs = 80 should be at least 1024 and at most 65535"),
        ({"limits": {"spill_limit": 1}}, "should be more than 0 and less than 1"),
        ({"limits": {"num_cpus": 1.5}}, "should be a whole number"),
        ({"limits": {"spill_limit": "1"}}, "should be a number"),
        ({"limits": {"resources": {"a": float("inf")}}}, "should be a finite number"),
        ({"logging": {"rotate_bytes": 1}}, "should be at least 64KiB"),
        ({"ray": {"allow_flags": "--labels"}}, "should be a list"),
        ({"environment": {"set": {"A": 1}}}, "environment.set.A should be text in quotes"),
        ({"override": {"SR-NET-002": {"until": "2027-01-31"}}}, "SR-NET-002.reason is missing"),
    ],
)
def test_a_problem_says_what_is_allowed(values: dict[str, Any], allowed: str) -> None:
    (complaint,) = complaints(Source("file x", values))
    assert complaint.endswith(f"{allowed} (file x)")


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("[limits]\nnum_cpu = 1", "limits.num_cpus"),
        ("num_cpus = 1", "limits.num_cpus"),
        ("[logging]\nenabled = true", "metrics.enabled"),
        ("[limit]", "limits"),
        ("[ports]\ngsc = 1", "ports.gcs"),
    ],
)
def test_a_misspelt_key_is_answered_with_the_right_one(text: str, meant: str) -> None:
    (complaint,) = complaints(from_toml(text, "file x"))
    assert f"did you mean {meant}?" in complaint


@pytest.mark.parametrize(
    "variable",
    ["SECURE_RAY_LIMITS_NUM_CPUS", "SECURE_RAY_", "SECURE_RAY_AUTH_MODE", "SECURE_RAY_LIMITS__"],
)
def test_an_unknown_variable_is_refused(variable: str) -> None:
    (complaint,) = complaints(from_environ({variable: "1"}, "variable"))
    assert f"(variable {variable})" in complaint


@pytest.mark.parametrize(
    "values",
    [
        {"token": "hunter2"},
        {"limits": {"token": "hunter2"}},
        {"environment": {"set": {"TOKEN": ["hunter2"]}}},
        {"environment": {"set": "TOKEN=hunter2"}},
        {"environment": {"pass": ["TOKEN=hunter2"]}},
        {"pki": {"passphrase_file": "hunter2"}},
        {"limits": {"num_cpus": {"TOKEN": "hunter2"}}},
        {"environment": {"set": {"TOKEN": "hunter2"}, "pas": []}},
    ],
)
def test_what_may_be_a_secret_is_in_no_error(values: dict[str, Any]) -> None:
    assert "hunter2" not in "".join(complaints(Source("file x", values)))


@pytest.mark.parametrize("section", sorted(path[0] for path in field_types() if len(path) == 1))
def test_a_section_that_is_no_table_is_refused(section: str) -> None:
    (complaint,) = complaints(Source("file x", {section: 3}))
    assert complaint.startswith(section)
    assert complaint.endswith("should be a table (file x)")


def test_a_key_from_outside_cannot_steer_the_terminal() -> None:
    (complaint,) = complaints(Source("file x", {"a\x1b[2J": 1}))
    assert "\x1b" not in complaint
