"""How notifications are kept: the SQL between them and rows."""

from dataclasses import dataclass

from shop_common.page import Page
from watertight_guest.sql import Database


@dataclass
class Field:
    """A value for a place of a template."""

    name: str
    value: str


@dataclass
class Record:
    """A notification as it is kept."""

    id: str
    recipient: str
    template: str
    text: str
    created_at: str
    fields: str


COLUMNS = "id, recipient, template, text, created_at, fields"


class Notifications:
    """The table of notifications."""

    def __init__(self, database: Database):
        self._database = database

    def insert(self, record: Record, key: str) -> bool:
        """Keeps a record under its key. Returns false, and keeps nothing, where the key names one already."""
        changed = self._database.execute(
            """insert into notifications (id, recipient, template, text, created_at, fields, deduplication_key)
               values (?1, ?2, ?3, ?4, ?5, ?6, ?7)
               on conflict (deduplication_key) do nothing""",
            record.id, record.recipient, record.template, record.text, record.created_at, record.fields, key,
        )
        return changed == 1

    def find_by_key(self, key: str) -> Record | None:
        """The record that this key names."""
        return self._database.one(Record, f"select {COLUMNS} from notifications where deduplication_key = ?1", key)

    def list(self, recipient: str, page: Page) -> list[Record]:
        """What a recipient was told, newest first: as much as the page has to fetch."""
        statement = f"select {COLUMNS} from notifications where recipient = ?1 and id < ?2 order by id desc limit ?3"
        return self._database.query(Record, statement, recipient, page.before, page.fetch)


def fields_to_column(fields: list[Field]) -> str:
    """Arranged fields as one text. Two lists of fields give the same only where they are the same: no value has a line break."""
    return "".join(f"{field.name}={field.value}\n" for field in fields)
