"""A database over a real SQLite file with the module's own migrations, for tests without a host.

    @pytest.fixture
    def database(tmp_path):
        return testing.database(tmp_path / "db", "migrations")
"""

import pathlib
import sqlite3

from watertight_guest import sql

KINDS = {"UNIQUE": "unique", "FOREIGN KEY": "foreign-key", "NOT NULL": "not-null", "CHECK": "check"}


def database(file, migrations) -> sql.Database:
    """A database in a new file, after all migrations of a folder. A relative path starts where the tests run."""
    if not pathlib.Path(migrations).is_dir():
        raise FileNotFoundError(f"there is no folder {str(pathlib.Path(migrations).absolute())!r} with migrations")
    connection = sqlite3.connect(file, isolation_level=None)
    connection.execute("pragma foreign_keys = on")
    for migration in sorted(pathlib.Path(migrations).glob("*.sql")):
        connection.executescript(migration.read_text(encoding="utf-8"))
    return sql.Database(_File(connection))


class _File:
    def __init__(self, connection):
        self._connection = connection

    def rows(self, statement, parameters):
        return self._run(statement, parameters).fetchall()

    def changed(self, statement, parameters):
        return max(self._run(statement, parameters).rowcount, 0)

    def begin(self):
        if self._connection.in_transaction:
            raise sql.Busy("this call has an open transaction")
        self._run("begin immediate", ())
        return _FileTransaction(self._connection)

    def _run(self, statement, parameters):
        try:
            return self._connection.execute(statement, parameters)
        except sqlite3.IntegrityError as error:
            kind, _, detail = str(error).partition(" constraint failed")
            found = sql.Constraint(KINDS.get(kind, "other"), detail.removeprefix(": "))
        except sqlite3.OperationalError as error:
            found = sql.Busy(str(error)) if "locked" in str(error) else sql.Storage(f"storage: {error}")
        except sqlite3.Error as error:
            found = sql.Syntax(f"bad statement: {error}")
        raise found


class _FileTransaction(_File):
    def commit(self):
        self._run("commit", ())

    def roll_back(self):
        if self._connection.in_transaction:
            self._run("rollback", ())
