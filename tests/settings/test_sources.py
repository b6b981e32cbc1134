import pytest

from secure_ray.base.errors import UsageError
from secure_ray.settings.problems import SettingsError
from secure_ray.settings.sources import from_dotenv, from_environ, from_flags, from_toml


@pytest.mark.parametrize(
    ("variable", "text", "values"),
    [
        ("SECURE_RAY_LIMITS__NUM_CPUS", "4", {"limits": {"num_cpus": 4}}),
        ("SECURE_RAY_LIMITS__MEMORY", "4GiB", {"limits": {"memory": "4GiB"}}),
        ("SECURE_RAY_LIMITS__RESOURCES", '{"a": 1}', {"limits": {"resources": {"a": 1}}}),
        ("SECURE_RAY_LIMITS__RESOURCES__Gpu_A", "2", {"limits": {"resources": {"Gpu_A": 2}}}),
        ("SECURE_RAY_METRICS__ENABLED", "true", {"metrics": {"enabled": True}}),
        ("SECURE_RAY_METRICS__ENABLED", "yes", {"metrics": {"enabled": "yes"}}),
        ("SECURE_RAY_LOGGING__LEVEL", "debug", {"logging": {"level": "debug"}}),
        ("SECURE_RAY_PORTS__WORKERS", "2000-3000", {"ports": {"workers": "2000-3000"}}),
        ("SECURE_RAY_NETWORK__BIND", "local", {"network": {"bind": "local"}}),
        ("SECURE_RAY_ENVIRONMENT__SET__FOO", "1", {"environment": {"set": {"FOO": "1"}}}),
        ("SECURE_RAY_ENVIRONMENT__PASS", '["A"]', {"environment": {"pass": ["A"]}}),
        ("SECURE_RAY_OVERRIDE", '{"X": {}}', {"override": {"X": {}}}),
        ("SECURE_RAY_PKI__PASSPHRASE_FILE", "/a", {"pki": {"passphrase_file": "/a"}}),
        ("SECURE_RAY_LIMITS__NUM_CPUS", "[" * 100_000, {"limits": {"num_cpus": "[" * 100_000}}),
        ("SECURE_RAY_TOKN", "x", {"tokn": "x"}),
    ],
)
def test_a_variable_names_a_setting(variable: str, text: str, values: object) -> None:
    source = from_environ({variable: text}, "variable")
    assert values == source.values
    assert list(source.labels.values()) == [f"variable {variable}"]


@pytest.mark.parametrize("name", ["HOME", "CONFIG", "CLUSTER", "INSTANCE", "START", "TRACEBACK"])
def test_variables_that_are_read_elsewhere_are_no_settings(name: str) -> None:
    assert from_environ({f"SECURE_RAY_{name}": "x", "PATH": "/bin"}, "variable").values == {}


def test_a_wrong_table_is_kept_so_that_it_is_refused() -> None:
    source = from_environ(
        {"SECURE_RAY_LIMITS": "3", "SECURE_RAY_LIMITS__NUM_CPUS": "4"}, "variable"
    )
    assert source.values == {"limits": 3}


def test_flags_that_were_not_given_say_nothing() -> None:
    source = from_flags({"limits.num_cpus": 0, "limits.num_gpus": None, "network.bind": None})
    assert source.values == {"limits": {"num_cpus": 0}}
    assert source.label(("limits", "num_cpus")) == "flag --num-cpus"


def test_a_label_stands_for_all_below_it() -> None:
    source = from_flags({"limits.resources": {"a": 1}})
    assert source.label(("limits", "resources", "a")) == "flag --resources"
    assert source.label(("logging", "level")) == "flag"


@pytest.mark.parametrize(
    "text",
    ["a = ", "[limits\n", "a = 1\na = 2", "a = " + "[" * 100_000, "a = " + "1" * 5000, "\0"],
)
def test_what_is_no_toml_is_refused_with_its_place(text: str) -> None:
    with pytest.raises(UsageError, match="file x") as caught:
        from_toml(text, "file x")
    assert caught.value.code == "SR-CFG-003"


def test_a_syntax_error_names_the_line() -> None:
    with pytest.raises(UsageError, match="line 2"):
        from_toml("[limits]\nnum_cpus = = 4\n", "file x")


def test_a_dotenv_file_holds_settings_and_others() -> None:
    text = "# c\nexport A='1'\n\nSECURE_RAY_LIMITS__NUM_CPUS = 4 # four\nB=${HOME}\nA=2\n"
    source, rest = from_dotenv(text, "file .env")
    assert source.values == {"limits": {"num_cpus": 4}}
    assert dict(rest) == {"A": "2", "B": "${HOME}"}


@pytest.mark.parametrize(
    ("text", "line"), [("A=1\n\n\nRAY_USE_TLS\n", 4), ("A=1\nB='open\n", 2), ("\n =3\n", 2)]
)
def test_a_line_that_assigns_nothing_is_refused(text: str, line: int) -> None:
    with pytest.raises(UsageError, match=f"line {line} "):
        from_dotenv(text, "file .env")


def test_what_is_read_before_the_dotenv_file_is_refused_in_it() -> None:
    with pytest.raises(SettingsError, match="SECURE_RAY_HOME is read before"):
        from_dotenv("SECURE_RAY_HOME=/tmp/x\n", "file .env")


def test_no_value_of_a_bad_line_is_shown() -> None:
    with pytest.raises(UsageError) as caught:
        from_dotenv("TOKEN hunter2\n", "file .env")
    assert "hunter2" not in str(caught.value)
