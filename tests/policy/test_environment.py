"""Ray's processes get a few harmless variables of the caller, and no credential."""

from __future__ import annotations

import pytest

from secure_ray.policy.environment import PASSED_BY_DEFAULT, select_passed
from secure_ray.policy.knobs import Action, Kind, knobs

CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "x",
    "AWS_SECRET_ACCESS_KEY": "x",
    "GOOGLE_APPLICATION_CREDENTIALS": "x",
    "AZURE_CLIENT_SECRET": "x",
    "HF_TOKEN": "x",
    "WANDB_API_KEY": "x",
    "GITHUB_TOKEN": "x",
    "SSH_AUTH_SOCK": "x",
    "KUBECONFIG": "x",
    "DATABASE_URL": "x",
}


def test_locale_home_and_accelerators_are_passed() -> None:
    given = {"LANG": "C", "LC_ALL": "C", "HOME": "/home/x", "TZ": "UTC", "CUDA_VISIBLE_DEVICES": ""}

    assert select_passed(given, ()) == given


def test_no_credential_is_passed_unless_it_is_named() -> None:
    assert select_passed(CREDENTIALS, ()) == {}
    assert select_passed(CREDENTIALS, ("HF_TOKEN",)) == {"HF_TOKEN": "x"}
    assert set(select_passed(CREDENTIALS, ("AWS_*",))) == {
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
    }


HELD_BACK = [knob.name for knob in knobs(Kind.VARIABLE) if knob.action is not Action.ALLOW]


@pytest.mark.parametrize("name", HELD_BACK)
def test_what_the_policy_judges_is_never_passed_this_way(name: str) -> None:
    name = name.replace("*", "x")

    assert select_passed({name: "1"}, (name,)) == {}
    assert select_passed({name: "1"}, ("*",)) == {}


def test_an_unknown_variable_for_ray_is_not_passed() -> None:
    assert select_passed({"RAY_UNHEARD_OF": "1"}, ("RAY_*",)) == {}
    assert select_passed({"RAY_DEDUP_LOGS": "0"}, ("RAY_*",)) == {"RAY_DEDUP_LOGS": "0"}


def test_the_path_is_not_the_callers() -> None:
    assert select_passed({"PATH": "/x"}, ()) == {}


def test_nothing_that_is_passed_by_default_is_for_ray() -> None:
    assert not [name for name in PASSED_BY_DEFAULT if "RAY" in name or name == "*"]


def test_what_is_not_utf8_is_not_passed() -> None:
    """Python reads the byte 0xff as U+DCFF, which can be written into no record."""
    odd = {"LANG": "de_\udcff", "HOME": "/home/x\udcff", "LC_\udcff": "C", "TZ": "UTC"}

    assert select_passed(odd, ()) == {"TZ": "UTC"}
