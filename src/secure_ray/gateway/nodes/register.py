"""The register of join tokens and nodes: one SQLite database in the cluster's directory.

SQLite makes a join one transaction, among threads, among processes (the commands write here while
the door is open) and across a crash. No secret is in it.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

from secure_ray.base.errors import FailedError
from secure_ray.base.files import PRIVATE_FILE, is_there
from secure_ray.base.ownership import require_private_file

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_FILE_NAME = "nodes.db"
_WAIT = 10.0  # seconds for another's transaction; one takes milliseconds
_VERSION = 1
# Times are seconds since 1970. A key is the SHA-256 of its SubjectPublicKeyInfo.
_SCHEMA = """
CREATE TABLE tokens (
    id TEXT PRIMARY KEY,
    public_key BLOB NOT NULL,
    made REAL NOT NULL,
    expires REAL NOT NULL,
    uses INTEGER NOT NULL,
    node TEXT NOT NULL,
    maker TEXT NOT NULL,
    revoked REAL
) STRICT;
CREATE TABLE nodes (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    address TEXT NOT NULL,
    key BLOB NOT NULL,
    joined REAL NOT NULL,
    revoked REAL,
    orders TEXT NOT NULL DEFAULT '[]',
    seen REAL,
    state TEXT
) STRICT;
CREATE UNIQUE INDEX one_node_of_a_name ON nodes (name) WHERE revoked IS NULL;
CREATE TABLE leaves (
    serial TEXT PRIMARY KEY,
    node TEXT NOT NULL REFERENCES nodes (id),
    expires REAL NOT NULL
) STRICT;
CREATE TABLE spendings (
    token TEXT NOT NULL,
    key BLOB NOT NULL,
    node TEXT NOT NULL REFERENCES nodes (id),
    name TEXT NOT NULL,
    address TEXT NOT NULL,
    chain TEXT NOT NULL,
    roots TEXT NOT NULL,
    spent REAL NOT NULL,
    PRIMARY KEY (token, key)
) STRICT;
"""


def find_register(directory: Path) -> Register | None:
    """The register of the cluster whose directory that is; None when it has none yet.

    Raises:
        FailedError: as `Register`.
    """
    return open_register(directory) if is_there(directory / _FILE_NAME) else None


def open_register(directory: Path) -> Register:
    """The register of the cluster whose directory that is, made if there is none.

    Raises:
        FailedError: as `Register`.
    """
    return Register(directory / _FILE_NAME)


class Register:
    """The database at `path`, made if it is missing.

    Raises:
        FailedError: it is not ours alone, of another version, damaged, or cannot be made.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        if not is_there(path):
            # SQLite gives its journal the mode of the database (os_unix.c, findCreateFileMode).
            os.close(os.open(path, os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, PRIVATE_FILE))
        require_private_file(path)
        with self.changing() as database:
            (version,) = database.execute("PRAGMA user_version").fetchone()
            if version == 0:
                for statement in _SCHEMA.split(";"):
                    database.execute(statement)
                database.execute(f"PRAGMA user_version = {_VERSION}")
            elif version != _VERSION:
                raise self._failure(f"it is of version {version}, not {_VERSION}")

    @contextmanager
    def changing(self) -> Iterator[sqlite3.Connection]:
        """One transaction that writes: all of it is kept, or nothing. Nobody else writes then.

        Raises:
            FailedError: the database cannot be written.
        """
        with self._open() as database:
            database.execute("BEGIN IMMEDIATE")
            try:
                yield database
            except BaseException:
                database.execute("ROLLBACK")
                raise
            database.execute("COMMIT")

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """One transaction that reads.

        Raises:
            FailedError: the database cannot be read.
        """
        with self._open() as database:
            database.execute("BEGIN")
            yield database

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        require_private_file(self._path)
        try:
            with closing(
                sqlite3.connect(self._path, timeout=_WAIT, isolation_level=None)
            ) as database:
                database.row_factory = sqlite3.Row
                yield database
        except sqlite3.Error as error:
            raise self._failure(str(error)) from None

    def _failure(self, why: str) -> FailedError:
        return FailedError(
            "SR-JOIN-026",
            f"the register of nodes {self._path} cannot be used: {why}",
            fix=f"free space on its file system, or put {self._path.name} back from a copy",
        )
