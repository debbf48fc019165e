"""The module's own database.

    database = sql.connect()
    database.query(Order, "select id, customer from orders where customer = ?1", "ada")  # a list of Order, a dataclass
    database.one(int, "select count(*) from orders")                                     # the only row, or None
    database.execute("delete from orders where id = ?1", "x")                            # how many rows it changed
    with database.transaction() as transaction:                                          # committed at the end,
        transaction.execute("…")                                                         # rolled back by an exception
"""

import dataclasses
import enum
import functools
import types
import typing
from collections.abc import Sequence

Value = None | int | float | str | bytes
Row = tuple[Value, ...]
T = typing.TypeVar("T")

MIN_INTEGER, MAX_INTEGER = -(2**63), 2**63 - 1


class SqlError(Exception):
    """The reason for which a statement failed. The text is for the log, never for a caller."""

    is_temporary = False
    """Whether the same statement may succeed in a moment."""


class Constraint(SqlError):
    """A constraint that the statement would violate."""

    def __init__(self, kind: str, detail: str):
        super().__init__(f"constraint {kind}: {detail}")
        self.kind = kind
        """`unique`, `foreign-key`, `not-null`, `check` or `other`"""
        self.detail = detail


class Syntax(SqlError):
    """The statement can't be prepared or is not allowed, or its parameters don't match its placeholders."""


class Busy(SqlError):
    """Too many callers wait for the database's writer, or this call already has an open transaction."""

    is_temporary = True


class Timeout(SqlError):
    """The statement ran past the call's deadline, or the transaction's lease ended."""

    is_temporary = True


class TooLarge(SqlError):
    """The statement, a value or the result exceeds a limit."""


class Closed(SqlError):
    """The transaction has already ended."""


class Storage(SqlError):
    """The database failed, or a row doesn't have what the code expects."""


class Statements(typing.Protocol):
    """What runs statements: the database, or a transaction. Values are None, int, float, str or bytes; placeholders are `?1`, `?2` …"""

    def rows(self, statement: str, parameters: Sequence[Value]) -> list[Row]: ...

    def changed(self, statement: str, parameters: Sequence[Value]) -> int: ...


class Queries:
    """Statements with rows as values of a type: a dataclass, an int, a float, a str, bytes, or a tuple for any row."""

    def __init__(self, statements: Statements):
        self._statements = statements

    def query(self, kind: type[T], statement: str, *parameters) -> list[T]:
        """Runs a statement that only reads, and returns its rows."""
        read = reader(kind)
        return [read(row) for row in self._statements.rows(statement, values(parameters))]

    def one(self, kind: type[T], statement: str, *parameters) -> T | None:
        """Runs a statement that only reads, and returns its first row, or None."""
        rows = self._statements.rows(statement, values(parameters))
        return reader(kind)(rows[0]) if rows else None

    def execute(self, statement: str, *parameters) -> int:
        """Runs a statement that writes, and returns how many rows it changed."""
        return self._statements.changed(statement, values(parameters))


class Transaction(Queries):
    """A write transaction, as the value of a `with`. It is committed at the end, and rolled back if an exception leaves the block."""

    def __enter__(self) -> typing.Self:
        return self

    def __exit__(self, kind, error, trace) -> None:
        if error is None:
            self._statements.commit()
        else:
            self._statements.roll_back()


class Database(Queries):
    """The module's database. What `execute` wrote, and a transaction that ended, survive a power cut."""

    def transaction(self) -> Transaction:
        """Opens a write transaction. A call can have one. It waits until the database's only writer is free."""
        return Transaction(self._statements.begin())


def connect() -> Database:
    """The database that the host keeps for the module. The world imports `watertight:sql/sql@1.0.0`."""
    return Database(_Host())


def values(parameters: Sequence) -> list[Value]:
    """Checks parameters, and turns booleans and enums into what SQL has."""
    return [_value(parameter) for parameter in parameters]


def _value(parameter):
    if isinstance(parameter, enum.Enum):
        parameter = parameter.value
    if isinstance(parameter, bool):
        return int(parameter)
    if isinstance(parameter, int) and not MIN_INTEGER <= parameter <= MAX_INTEGER:
        raise OverflowError(f"{parameter} is no integer of 64 bits, which SQL has")
    if parameter is None or isinstance(parameter, int | float | str | bytes):
        return parameter
    raise TypeError(f"a parameter is a {type(parameter).__name__}, which SQL doesn't have")


@functools.cache
def reader(kind: type):
    """Returns a function that makes a value of a type from a row, and refuses a row that doesn't fit it."""
    if kind is tuple:
        return tuple
    if not dataclasses.is_dataclass(kind):
        (read,) = _columns([("the column", kind)])
        return lambda row: read(*_sized(row, 1, kind))
    hints = typing.get_type_hints(kind)
    columns = _columns([(f"`{field.name}`", hints[field.name]) for field in dataclasses.fields(kind)])
    return lambda row: kind(*(read(value) for read, value in zip(columns, _sized(row, len(columns), kind))))


def _sized(row, size, kind):
    if len(row) != size:
        raise Storage(f"a row has {len(row)} columns, and {kind.__name__} has {size}")
    return row


def _columns(hints):
    return [_column(name, hint) for name, hint in hints]


def _column(name, hint):
    # A type that is one of several, such as `str | None`.
    kinds = typing.get_args(hint) if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union else (hint,)
    enums = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, enum.Enum)]
    plain = tuple(int if kind is bool else kind for kind in kinds if kind not in enums)

    def read(value):
        for kind in enums:
            try:
                return kind(value)
            except ValueError:
                pass
        if not isinstance(value, plain):
            # The value itself stays out of the log.
            raise Storage(f"{name} holds a {type(value).__name__}")
        return bool(value) if bool in kinds else value

    return read


class _Host:
    """The database of the host."""

    def __init__(self):
        from wit_world.imports import sql

        self._sql = sql

    def rows(self, statement, parameters):
        return _rows(lambda: self._sql.query(statement, self._lowered(parameters)))

    def changed(self, statement, parameters):
        return _told(lambda: self._sql.execute(statement, self._lowered(parameters)))

    def begin(self):
        return _HostTransaction(self, _told(self._sql.Transaction.begin))

    def _lowered(self, parameters):
        return [self._lower(parameter) for parameter in parameters]

    def _lower(self, parameter):
        sql = self._sql
        if parameter is None:
            return sql.Value_Null()
        if isinstance(parameter, str):
            return sql.Value_Text(parameter)
        if isinstance(parameter, int):
            return sql.Value_Integer(parameter)
        return sql.Value_Real(parameter) if isinstance(parameter, float) else sql.Value_Blob(parameter)


class _HostTransaction:
    """A transaction of the host. Its handle is gone once it is committed or rolled back."""

    def __init__(self, host, handle):
        self._host = host
        self._handle = handle

    def rows(self, statement, parameters):
        return _rows(lambda: self._open().query(statement, self._host._lowered(parameters)))

    def changed(self, statement, parameters):
        return _told(lambda: self._open().execute(statement, self._host._lowered(parameters)))

    def commit(self):
        handle, self._handle = self._open(), None
        # `commit` takes the handle, so nothing may be dropped after it.
        _told(lambda: self._host._sql.Transaction.commit(handle))

    def roll_back(self):
        handle, self._handle = self._handle, None
        if handle is not None:
            handle.__exit__(None, None, None)

    def _open(self):
        if self._handle is None:
            raise Closed("the transaction has ended")
        return self._handle


def _rows(ask):
    return [tuple(getattr(value, "value", None) for value in row) for row in _told(ask)]


def _told(ask):
    """Runs a function of the interface, and turns its errors into those of this module."""
    from componentize_py_types import Err

    try:
        return ask()
    except Err as error:
        found = error.value
    raise _error(type(found).__name__.removeprefix("Error_"), getattr(found, "value", None))


def _error(case, detail):
    match case:
        case "Constraint":
            return Constraint(detail.kind.name.lower().replace("_", "-"), detail.detail)
        case "Syntax":
            return Syntax(f"bad statement: {detail}")
        case "Busy":
            return Busy("the database is busy")
        case "Timeout":
            return Timeout("the statement ran out of time")
        case "TooLarge":
            return TooLarge("the statement or its result is too large")
        case "Closed":
            return Closed("the transaction has ended")
        case _:
            return Storage(f"storage: {detail}")
