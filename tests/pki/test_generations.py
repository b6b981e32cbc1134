"""A generation gets its number when it is whole, and loses it before it is taken apart."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from secure_ray.base.errors import FailedError
from secure_ray.base.files import make_private_directory
from secure_ray.pki.generations import Generations
from support.power import survives

if TYPE_CHECKING:
    from pathlib import Path

FILES = {"one": b"1", "two": b"2"}


@pytest.fixture
def made(tmp_path: Path) -> Generations:
    make_private_directory(tmp_path / "all")
    return Generations(tmp_path / "all", "a")


def whole(one: Generations) -> bool:
    return all(
        {path.name for path in one.place(number).iterdir()} == set(FILES)
        for number in one.numbers()
    )


def test_a_new_one_is_not_in_use_until_it_is_said(made: Generations) -> None:
    assert (made.current(), made.numbers()) == (None, [])
    number = made.add(FILES)
    assert (number, made.current()) == (1, None)
    made.use(number)
    assert made.current() == made.place(1)


def test_one_that_does_not_stand_its_check_leaves_nothing(made: Generations) -> None:
    def refuse(place: Path) -> None:
        assert {path.name for path in place.iterdir()} == set(FILES)
        raise FailedError("SR-PKI-016", "no", fix="no")

    with pytest.raises(FailedError, match="SR-PKI-016"):
        made.add(FILES, check=refuse)
    assert not list(made.directory.iterdir())


def test_killed_anywhere_there_is_never_half_of_one(made: Generations) -> None:
    made.use(made.add(FILES))

    def run() -> None:
        made.use(made.add(FILES))
        made.sweep({made.current_number()})

    cuts = 0
    while not survives(run, cuts):
        assert whole(made)
        assert made.current() is not None
        cuts += 1
    assert cuts > 10
    made.sweep({made.current_number()})
    assert len(list(made.directory.iterdir())) == 2


def test_a_sweep_keeps_what_it_is_told_and_what_it_does_not_know(made: Generations) -> None:
    for _ in range(3):
        made.add(FILES)
    made.use(2)
    (made.directory / "request").mkdir()

    made.sweep({2, 3})

    assert {path.name for path in made.directory.iterdir()} == {
        "a0002",
        "a0003",
        "current",
        "request",
    }


def test_one_that_is_a_link_is_not_followed(made: Generations, tmp_path: Path) -> None:
    make_private_directory(tmp_path / "elsewhere")
    made.place(1).symlink_to(tmp_path / "elsewhere")

    with pytest.raises(FailedError, match="SR-FILE-001"):
        made.find(1)
