"""What users start from says the truth about the settings."""

import re

import pytest

from secure_ray.deploy.render import template_text
from secure_ray.settings.fields import leaf_fields
from secure_ray.settings.model import Settings
from secure_ray.settings.resolve import resolve
from secure_ray.settings.sources import from_dotenv, from_toml

TOML = template_text("secure-ray.toml")
DOTENV = template_text("env.example")


def with_all_keys(text: str) -> str:
    """The template with the "# " taken off every key that has no default."""
    return re.sub(r"^# (?=[A-Za-z0-9_-]+ ?=)", "", text, flags=re.MULTILINE)


def test_the_settings_file_holds_the_defaults() -> None:
    assert resolve([from_toml(TOML, "template")]).settings == Settings()


def test_every_example_in_it_is_allowed() -> None:
    settings = resolve([from_toml(with_all_keys(TOML), "template")]).settings
    assert settings != Settings()


@pytest.mark.parametrize("path", [path for path in leaf_fields() if len(path) == 2], ids=".".join)
def test_every_setting_stands_in_its_section(path: tuple[str, ...]) -> None:
    section, key = path
    assert key in from_toml(with_all_keys(TOML), "template").values[section]


def test_the_dotenv_example_sets_nothing_by_itself() -> None:
    source, rest = from_dotenv(DOTENV, "template")
    assert source.values == {}
    assert dict(rest) == {}


def test_every_example_in_the_dotenv_example_is_allowed() -> None:
    source, rest = from_dotenv(with_all_keys(DOTENV), "template")
    assert resolve([source]).settings != Settings()
    assert dict(rest) == {}


@pytest.mark.parametrize("text", [TOML, DOTENV], ids=["secure-ray.toml", "env.example"])
def test_lines_fit_a_terminal(text: str) -> None:
    assert [line for line in text.splitlines() if len(line) > 100 or line != line.rstrip()] == []
