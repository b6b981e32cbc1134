"""Read the known advisories: those that came with the package, and the user's OSV files."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from secure_ray.base.errors import UsageError
from secure_ray.node.load import read_trusted
from secure_ray.policy.advisories import load, merge
from secure_ray.policy.osv import from_osv

if TYPE_CHECKING:
    from collections.abc import Iterable

    from secure_ray.policy.advisories import AdvisoryBook


def read_advisories(files: Iterable[str]) -> AdvisoryBook:
    """The packaged advisories with those of `files` merged in.

    Raises:
        UsageError: a file cannot be trusted or read, or is no OSV document.
    """
    packaged = resources.files("secure_ray.policy").joinpath("advisories.json")
    book = load(packaged.read_text(encoding="utf-8"))
    for name in files:
        try:
            document = json.loads(read_trusted(Path(name)))
        except ValueError:
            raise UsageError(
                "SR-VER-006", f"{name} is not JSON", fix="download it again from https://osv.dev"
            ) from None
        documents = document if isinstance(document, list) else [document]
        for entry in documents:
            book = merge(book, from_osv(entry))
    return book
