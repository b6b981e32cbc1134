"""Merges OSV files into src/secure_ray/policy/advisories.json and sets its date to today."""

from __future__ import annotations

import argparse
import json
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from secure_ray.base.errors import UsageError
from secure_ray.policy.advisories import Advisory, dump, load, merge
from secure_ray.policy.osv import from_osv

if TYPE_CHECKING:
    from datetime import date

TARGET = Path(__file__).resolve().parent.parent / "src/secure_ray/policy/advisories.json"


def update(text: str, documents: list[dict[str, Any]], today: date) -> tuple[str, int]:
    """The new text of advisories.json, and how many entries the documents held.

    Raises:
        UsageError: the text or a document cannot be read.
    """
    found: list[Advisory] = [entry for document in documents for entry in from_osv(document)]
    return dump(merge(load(text), found, today=today)), len(found)


def main(arguments: list[str], target: Path = TARGET) -> int:
    """Update `target` from the files named; 2 when one of them cannot be read."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="an OSV file, JSON")
    files: list[Path] = parser.parse_args(arguments).files
    try:
        documents = [json.loads(file.read_text(encoding="utf-8")) for file in files]
        today = datetime.now(timezone.utc).date()
        text, count = update(target.read_text(encoding="utf-8"), documents, today)
    except (OSError, ValueError, UsageError) as error:
        print(f"nothing was changed: {error}", file=sys.stderr)
        return 2
    target.write_text(text, encoding="utf-8")
    print(f"{count} entries merged; read the difference before you commit it")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
