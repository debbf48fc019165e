"""The rules of payments.

Each step is one statement that checks the status and changes it. If requests race, one of them takes the step and the others see its
result. A key belongs to one kind of step: the same text may name an authorization and a capture.
"""

import logging
from collections.abc import Callable

from payments.models.payment import Charge, Method, Payments, Row, Status
from payments.services import provider
from payments.services.provider import Declined, Silent
from shop_common.fields import check_key, check_text
from watertight_guest import clock, ulid
from watertight_guest.sql import Database

# The longest reference, card token and wallet id, in bytes.
MAX_TEXT = 128

log = logging.getLogger("payments")


class Conflict(Exception):
    """The payment's status doesn't allow the step, or the key belongs to another request."""


class NotFound(Exception):
    """No payment has this id."""


class PaymentService:
    """Payments that are kept in a database."""

    def __init__(self, database: Database):
        self._payments = Payments(database)

    def authorize(self, charge: Charge, key: str) -> Row:
        """Reserves the amount of a charge. The key belongs to the charge and its result for good, also to the fact that it was declined."""
        check_charge(charge)
        check_key("idempotency-key", key)
        status, reason = Status.AUTHORIZED, None
        try:
            provider.authorize(charge)
        except Declined as declined:
            status, reason = Status.DECLINED, str(declined)
        except Silent:
            if known := self._known(charge, key):
                return known
            raise
        row = Row(
            id=ulid.new(),
            reference=charge.reference,
            currency=charge.amount.currency,
            amount=charge.amount.minor,
            method=charge.method,
            token=charge.token,
            status=status,
            reason=reason,
            created_at=clock.timestamp(clock.now()),
        )
        if self._payments.insert(row, key):
            return standing(row)
        return self._known(charge, key)

    def capture(self, id: str, key: str) -> Row:
        """Captures an authorized amount."""
        return self._step(self._payments.capture, "captured", id, key, lambda row: row.capture_key)

    def refund(self, id: str, key: str) -> Row:
        """Refunds a captured amount."""
        return self._step(self._payments.refund, "refunded", id, key, lambda row: row.refund_key)

    def get(self, id: str) -> Row:
        """One payment. A charge that was declined is none."""
        row = self._payments.find(id)
        if row is None or row.status is Status.DECLINED:
            raise NotFound(id)
        return row

    def _known(self, charge: Charge, key: str) -> Row | None:
        """The kept result of a charge, without asking the provider. None if the key is new."""
        row = self._payments.find_by_key(key)
        if row is None:
            return None
        if row.charge != charge:
            raise Conflict("the idempotency key belongs to another charge")
        return standing(row)

    def _step(self, take: Callable[[str, str], bool], verb: str, id: str, key: str, done_by: Callable[[Row], str | None]) -> Row:
        check_key("idempotency-key", key)
        is_taken = take(id, key)
        row = self.get(id)
        if is_taken:
            log.info("%s %s", id, verb)
        elif done_by(row) != key:
            raise Conflict(f"a payment that is {row.status.value} can't be {verb}")
        return row


def standing(row: Row) -> Row:
    """The payment that a charge made. Raises what the provider said if it was declined."""
    if row.status is Status.DECLINED:
        raise Declined(row.reason)
    return row


def check_charge(charge: Charge) -> None:
    charge.amount.check_price("amount")
    check_text("reference", charge.reference, MAX_TEXT)
    if charge.method is not Method.INVOICE:
        check_text(f"method.{charge.method.value}", charge.token, MAX_TEXT)
