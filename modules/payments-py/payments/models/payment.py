"""Payments, and how they are kept: the SQL between them and rows."""

import enum
from dataclasses import dataclass

from shop_common.money import Money
from watertight_guest.sql import Queries


class Method(enum.Enum):
    """What is charged."""

    CARD = "card"
    WALLET = "wallet"
    INVOICE = "invoice"


class Status(enum.Enum):
    """Where a charge is. One that was declined is kept too, so that its key answers the same for ever."""

    DECLINED = "declined"
    AUTHORIZED = "authorized"
    CAPTURED = "captured"
    REFUNDED = "refunded"


@dataclass(frozen=True)
class Charge:
    """A charge to authorize."""

    amount: Money
    method: Method
    token: str | None
    """The card's token or the wallet's id. None for an invoice."""
    reference: str
    """The caller's own reference for what is paid."""


@dataclass
class Row:
    """A charge with its result, as it is kept."""

    id: str
    reference: str
    currency: str
    amount: int
    method: Method
    token: str | None
    status: Status
    reason: str | None
    created_at: str
    capture_key: str | None = None
    refund_key: str | None = None

    @property
    def charge(self) -> Charge:
        """The charge that made it."""
        return Charge(Money(self.currency, self.amount), self.method, self.token, self.reference)


COLUMNS = "id, reference, currency, amount, method, token, status, reason, created_at, capture_key, refund_key"


class Payments:
    """The tables of payments and of the provider's events, in the database or in a transaction."""

    def __init__(self, database: Queries):
        self._database = database

    def insert(self, row: Row, key: str) -> bool:
        """Keeps a charge under its key. Returns false, and keeps nothing, where the key names one already."""
        changed = self._database.execute(
            """insert into payments (id, reference, currency, amount, method, token, status, reason, created_at, authorize_key)
               values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)
               on conflict (authorize_key) do nothing""",
            row.id, row.reference, row.currency, row.amount, row.method, row.token, row.status, row.reason, row.created_at, key,
        )
        return changed == 1

    def find(self, id: str) -> Row | None:
        """The charge with this id."""
        return self._database.one(Row, f"select {COLUMNS} from payments where id = ?1", id)

    def find_by_key(self, key: str) -> Row | None:
        """The charge that this key of `authorize` names."""
        return self._database.one(Row, f"select {COLUMNS} from payments where authorize_key = ?1", key)

    def insert_event(self, id: str, kind: str, payment: str, now: str) -> bool:
        """Keeps that an event of the provider was received. Returns false, and keeps nothing, where it was received before."""
        statement = "insert into provider_events (id, type, payment, received_at) values (?1, ?2, ?3, ?4) on conflict (id) do nothing"
        return self._database.execute(statement, id, kind, payment, now) == 1

    def capture(self, id: str, key: str) -> bool:
        """Takes the step where the payment is authorized. Returns whether it was taken."""
        statement = "update payments set status = 'captured', capture_key = ?2 where id = ?1 and status = 'authorized'"
        return self._database.execute(statement, id, key) == 1

    def refund(self, id: str, key: str) -> bool:
        """Takes the step where the payment is captured. Returns whether it was taken."""
        statement = "update payments set status = 'refunded', refund_key = ?2 where id = ?1 and status = 'captured'"
        return self._database.execute(statement, id, key) == 1
