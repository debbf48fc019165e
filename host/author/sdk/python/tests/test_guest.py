import enum
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone

import pytest

from watertight_guest import clock, sql, testing, ulid


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


@dataclass
class Item:
    id: int
    name: str | None
    price: float
    colour: Colour
    is_new: bool
    data: bytes


@pytest.fixture
def database(tmp_path):
    folder = tmp_path / "migrations"
    folder.mkdir()
    (folder / "0001_items.sql").write_text(
        "create table items (id integer primary key, name text, price real not null, colour text not null, is_new integer not null,"
        " data blob not null) strict;"
    )
    return testing.database(tmp_path / "db", folder)


ITEM = Item(2**63 - 1, None, 0.5, Colour.BLUE, True, b"\x00\xff")
INSERT = "insert into items values (?1, ?2, ?3, ?4, ?5, ?6)"


def insert(statements, item):
    return statements.execute(INSERT, item.id, item.name, item.price, item.colour, item.is_new, item.data)


def test_rows_become_dataclasses(database):
    assert insert(database, ITEM) == 1
    assert database.query(Item, "select * from items") == [ITEM]
    assert database.one(Item, "select * from items where id = ?1", 1) is None
    assert database.one(int, "select count(*) from items") == 1
    assert database.one(tuple, "select 1, 'a'") == (1, "a")


def test_rows_that_do_not_fit_are_refused(database):
    for kind, statement, words in [
        (Item, "select 1", "1 columns, and Item has 6"),
        (int, "select 'x'", "the column holds a str"),
        (Item, "select 1, 2, 0.5, 'red', 1, x'00'", "`name` holds a int"),
        (Item, "select 1, 'a', 0.5, 'green', 1, x'00'", "`colour` holds a str"),
    ]:
        with pytest.raises(sql.Storage, match=words):
            database.one(kind, statement)


def test_parameters_are_checked(database):
    for parameter in (2**63, -(2**63) - 1):
        with pytest.raises(OverflowError):
            database.one(int, "select ?1", parameter)
    with pytest.raises(TypeError, match="a parameter is a list"):
        database.one(int, "select ?1", [])


def test_a_transaction_is_committed_or_rolled_back(database):
    with database.transaction() as transaction:
        insert(transaction, ITEM)
        with pytest.raises(sql.Busy):
            database.transaction()
    with pytest.raises(KeyError):
        with database.transaction() as transaction:
            transaction.execute("delete from items")
            assert transaction.one(int, "select count(*) from items") == 0
            raise KeyError
    assert database.one(int, "select count(*) from items") == 1


def test_errors_have_types(database):
    insert(database, ITEM)
    with pytest.raises(sql.Constraint) as found:
        insert(database, ITEM)
    assert (found.value.kind, found.value.detail) == ("unique", "items.id")
    assert not found.value.is_temporary and sql.Busy.is_temporary
    with pytest.raises(sql.SqlError):
        database.execute("no statement")


def test_ids_hold_their_moment():
    # The example of the specification's reference implementation.
    assert ulid.of(1_469_918_176_385, -1) == "01ARYZ6S41" + "Z" * 16
    assert ulid.of(1_469_918_176_385, 33) == "01ARYZ6S410000000000000011"
    ids = [ulid.of(millis, 9) for millis in (0, 1, 31, 32, 1 << 40)]
    assert sorted(ids) == ids
    assert ulid.is_ulid(ulid.new()) and ulid.new() != ulid.new()
    for text in ("", "01ARYZ6S41", "8" + "Z" * 25, "01ARYZ6S41ZZZZZZZZZZZZZZZU", "01aryz6s41zzzzzzzzzzzzzzzz", ulid.new() + "\n"):
        assert not ulid.is_ulid(text)


def test_moments_have_milliseconds():
    assert clock.timestamp(datetime(2026, 11, 23, 8, 15, 30, 7_999, UTC)) == "2026-11-23T08:15:30.007Z"
    assert clock.timestamp(datetime(2026, 11, 23, 8, tzinfo=timezone(timedelta(hours=1)))) == "2026-11-23T07:00:00.000Z"
    assert clock.now().tzinfo is UTC
