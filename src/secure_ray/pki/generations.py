"""Numbered directories of which one is current: `g0001`, `g0002`, `current -> g0002`.

A generation is written whole under a hidden name, gets its number in one rename, and becomes the
current one in another (of the link). So whoever looks finds either all of it or nothing, and what
a killed run left is known by its name.
"""

from __future__ import annotations

import os
import re
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

from secure_ray.base.errors import FailedError
from secure_ray.base.file_errors import os_failure
from secure_ray.base.files import (
    make_private_directory,
    remove_tree,
    replace_link,
    sync_directory,
    write_private,
)
from secure_ray.base.ownership import require_private_directory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

# What `write_private`, `replace_link` and `add` leave behind when they are killed before a rename.
_LEFTOVER = r"\.{name}\.[0-9a-f]{{12}}"


@dataclass(frozen=True)
class Generations:
    """The generations in one directory; `letter` begins their names."""

    directory: Path
    letter: str

    @property
    def link(self) -> Path:
        """The link to the generation in use."""
        return self.directory / "current"

    def place(self, number: int) -> Path:
        """Where the generation of that number is."""
        return self.directory / f"{self.letter}{number:04d}"

    def current_number(self) -> int:
        """The number that `current` points at, whether anything is there or not; 0 without link.

        Raises:
            FailedError: `current` is not a link to a generation beside it.
        """
        if not os.path.lexists(self.link):
            return 0
        target = str(self.link.readlink()) if self.link.is_symlink() else ""
        match = self._pattern().fullmatch(target)
        if match is None:
            raise FailedError(
                "SR-PKI-008",
                f"{self.link} is not a link to a generation beside it (such as {self.letter}0001)",
                fix=f"find out who changed {self.link}, and point it at the last generation there",
            )
        return int(match[1])

    def current(self) -> Path | None:
        """The generation in use; None when there is no link or nothing behind it.

        Raises:
            FailedError: `current` is not a link to a generation, or that is not ours alone.
        """
        number = self.current_number()
        return self.find(number) if number else None

    def find(self, number: int) -> Path | None:
        """The generation of that number; None when it is not there.

        Raises:
            FailedError: it is not ours alone.
        """
        if not os.path.lexists(self.place(number)):
            return None
        require_private_directory(self.place(number))
        return self.place(number)

    def numbers(self) -> list[int]:
        """Of all generations that are there, in order."""
        if not os.path.lexists(self.directory):
            return []
        matches = (self._pattern().fullmatch(entry.name) for entry in self.directory.iterdir())
        return sorted(int(match[1]) for match in matches if match)

    def add(
        self, files: Mapping[str, bytes], *, check: Callable[[Path], None] | None = None
    ) -> int:
        """Write a generation that is not in use yet; its number.

        Args:
            files: What is in it, by name.
            check: Looks at the whole of it before it gets its number; what it raises is raised.

        Raises:
            FailedError: it could not be written; nothing else has changed.
        """
        number = max([self.current_number(), *self.numbers()]) + 1
        target = self.place(number)
        hidden = self._hidden(target)
        try:
            make_private_directory(hidden)
            for name, content in files.items():
                write_private(hidden / name, content)
            if check is not None:
                check(hidden)
            self._rename(hidden, target)
        finally:
            if os.path.lexists(hidden):
                remove_tree(hidden)
        return number

    def use(self, number: int) -> None:
        """Make the generation of that number the current one.

        Raises:
            FailedError: the link could not be written; it is as it was.
        """
        replace_link(self.link, self.place(number).name)

    def sweep(self, keep: Iterable[int]) -> None:
        """Remove all generations but those to `keep`, and what killed runs left.

        Raises:
            FailedError: something could not be removed.
        """
        sweep_leftovers(self.directory, "current")
        leftover = re.compile(_LEFTOVER.format(name=rf"{self.letter}\d{{4,}}"))
        for entry in list(self.directory.iterdir()):
            if leftover.fullmatch(entry.name):
                remove_tree(entry)
        for number in set(self.numbers()) - set(keep):
            self._remove(number)

    def _remove(self, number: int) -> None:
        # Under a hidden name first: half a generation must not be taken for a whole one.
        hidden = self._hidden(self.place(number))
        self._rename(self.place(number), hidden)
        remove_tree(hidden)

    def _rename(self, source: Path, target: Path) -> None:
        try:
            source.replace(target)
            sync_directory(self.directory)
        except OSError as error:
            raise os_failure("write", target, error) from None

    def _hidden(self, place: Path) -> Path:
        return place.with_name(f".{place.name}.{secrets.token_hex(6)}")

    def _pattern(self) -> re.Pattern[str]:
        return re.compile(rf"{self.letter}(\d{{4,}})")


def sweep_leftovers(directory: Path, name: str) -> None:
    """Remove the temporary files of `name` (a regular expression) that killed runs left."""
    leftover = re.compile(_LEFTOVER.format(name=name))
    for entry in list(directory.iterdir()):
        if leftover.fullmatch(entry.name):
            entry.unlink(missing_ok=True)
