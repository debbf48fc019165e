"""The payment provider's events: checks that the provider signed them, and applies each once.

The signature stands over the body as it was sent, so nothing here parses a body before its signature is checked.
"""

import enum
import hashlib
import hmac
import json
import logging
import re
from datetime import UTC, datetime, timedelta

from payments.models.payment import Payments, Status
from shop_common.fields import Invalid, check_text
from watertight_guest import clock
from watertight_guest.sql import Database, Queries

# The name of the secret with which the provider signs.
KEY = "webhook_key"
# The greatest difference between the time of sending and this clock. A recorded event can't be sent again later.
TOLERANCE = timedelta(minutes=5)
# The longest event, in bytes.
MAX_BODY = 64 << 10
# The most signatures of one event: the provider sends several while it changes its secret.
MAX_SIGNATURES = 8
# The longest id of an event, type, and id in an event's data, in bytes.
MAX_TEXT = 128
# The type of the event by which the provider says that it gave an amount back.
REFUNDED = "payment.refunded"
# What is wrong with a signature that can't be read.
SHAPE = "must be t=SECONDS,v1=HEX"
HEX = re.compile("(?:[0-9A-Fa-f]{2})*")

log = logging.getLogger("payments")


class Outcome(enum.Enum):
    """The effect of an event."""

    APPLIED = "applied"
    REPEATED = "repeated"
    IGNORED = "ignored"


class BadSignature(Exception):
    """The signature is malformed, is not of these five minutes, or doesn't fit the body."""


class Malformed(Exception):
    """The body is signed, but is no event."""


class TooEarly(Exception):
    """The payment is not captured yet."""


class NoKey(Exception):
    """There is no secret to check a signature with."""


class WebhookService:
    """Takes events, and changes payments in a database."""

    def __init__(self, database: Database):
        self._database = database

    def receive(self, key: str | None, body: bytes, signature: str) -> Outcome:
        """Takes an event as it was sent. `signature` is `t=SECONDS,v1=HEX`."""
        # Everybody can sign with an empty key.
        if not key:
            raise NoKey("no key for events is configured")
        if len(body) > MAX_BODY:
            raise Malformed(f"it has more than {MAX_BODY} bytes")
        check_signature(key, body, signature, clock.now())
        event = read(body)
        if event["type"] != REFUNDED:
            return Outcome.IGNORED
        payment = text(event.get("data"), "payment", "data.payment")
        with self._database.transaction() as transaction:
            outcome = refund(transaction, event, payment)
        if outcome is Outcome.APPLIED:
            log.info("%s refunded by the provider", payment)
        return outcome


def refund(transaction: Queries, event: dict, payment: str) -> Outcome:
    """Applies an event that says that a payment was refunded. An exception rolls back, so that the event counts as new again."""
    payments = Payments(transaction)
    if not payments.insert_event(event["id"], event["type"], payment, clock.timestamp(clock.now())):
        return Outcome.REPEATED
    if payments.refund(payment, f"event:{event['id']}"):
        return Outcome.APPLIED
    row = payments.find(payment)
    if row is not None and row.status is Status.AUTHORIZED:
        raise TooEarly(f"the payment {payment} is not captured yet")
    return Outcome.IGNORED


def check_signature(key: str, body: bytes, signature: str, now: datetime) -> None:
    """Refuses a signature that isn't of this key, this body and these five minutes."""
    times, codes = [], []
    for field in signature.split(","):
        name, equals, value = field.strip(" \t\r\n\f").partition("=")
        if not equals:
            raise BadSignature(SHAPE)
        if name == "t":
            times.append(value)
        elif name == "v1":
            codes.append(code(value))
    if len(times) != 1 or not 1 <= len(codes) <= MAX_SIGNATURES or not (times[0].isascii() and times[0].isdigit()):
        raise BadSignature(SHAPE)
    expected = hmac.new(key.encode(), f"{times[0]}.".encode() + body, hashlib.sha256).digest()
    # The comparison takes the same time for every wrong code.
    if not any(hmac.compare_digest(given, expected) for given in codes):
        raise BadSignature("does not fit the body")
    # More digits are a time that Python can't have.
    sent = datetime.fromtimestamp(int(times[0]), UTC) if len(times[0]) <= 11 else datetime.max.replace(tzinfo=UTC)
    if abs(now - sent) > TOLERANCE:
        raise BadSignature("is not of these five minutes")


def code(text: str) -> bytes:
    """The bytes of a code in hexadecimal digits."""
    if not HEX.fullmatch(text):
        raise BadSignature(SHAPE)
    return bytes.fromhex(text)


def read(body: bytes) -> dict:
    """An event with an id and a type."""
    try:
        event = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Malformed(f"it is not JSON: {error}") from None
    text(event, "id", "id")
    text(event, "type", "type")
    return event


def text(holder: object, name: str, field: str) -> str:
    """A text of an object. `field` is what a message calls it."""
    value = holder.get(name) if isinstance(holder, dict) else None
    if not isinstance(value, str):
        raise Malformed(f"{field} must be a text")
    try:
        check_text(field, value, MAX_TEXT)
    except Invalid as invalid:
        raise Malformed(str(invalid)) from None
    except UnicodeEncodeError:
        raise Malformed(f"{field} must be a text") from None
    return value
