"""What becomes of a question to Ray's control store that gets no good answer."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING

import pytest

from secure_ray.base.errors import FailedError
from secure_ray.node import ray_nodes
from secure_ray.node.ray_nodes import RayNode, drain_ray_node, list_ray_nodes

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Answers = Callable[[str], Path]

_ENVIRONMENT = {"PATH": os.defpath}


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Answers:
    """Has the question's process print a given text instead, and says what it was asked."""
    asked = tmp_path / "asked"

    def answer(text: str) -> Path:
        program = tmp_path / "python"
        program.write_text(f"#!/bin/sh\necho \"$@\" > {asked}\ncat <<'END'\n{text}\nEND\n")
        program.chmod(0o700)
        monkeypatch.setattr(sys, "executable", str(program))
        return asked

    return answer


def test_nodes_are_read(answers: Answers) -> None:
    node = {"id": "ab", "address": "10.0.0.5", "alive": True, "head": False}
    asked = answers(json.dumps({"result": [node]}))

    assert list_ray_nodes(_ENVIRONMENT) == (RayNode("ab", "10.0.0.5", alive=True, head=False),)
    assert asked.read_text().split() == ["-m", "secure_ray.node.ray_nodes", "list"]


def test_drain_is_asked_for(answers: Answers) -> None:
    asked = answers(json.dumps({"result": None}))

    drain_ray_node(_ENVIRONMENT, "ab", "maintenance")

    assert asked.read_text().split()[2:] == ["drain", "ab", "maintenance"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (json.dumps({"error": "RpcError: not reachable"}), "RpcError: not reachable"),
        ("Traceback (most recent call last):", "no answer"),
        ("", "no answer"),
    ],
)
def test_what_went_wrong_is_told(answers: Answers, text: str, told: str) -> None:
    answers(text)

    with pytest.raises(FailedError, match=told) as caught:
        list_ray_nodes(_ENVIRONMENT)

    assert caught.value.code == "SR-RAY-030"


def test_silence_is_ended(monkeypatch: pytest.MonkeyPatch, answers: Answers) -> None:
    answers("")
    monkeypatch.setattr(ray_nodes, "_PROCESS_SECONDS", 0.0)

    with pytest.raises(FailedError, match="no answer"):
        list_ray_nodes(_ENVIRONMENT)
