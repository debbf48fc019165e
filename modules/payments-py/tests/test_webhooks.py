"""The provider's events over a real database."""

import hashlib
import hmac
import json
import time

import pytest

from payments.models.payment import Charge, Method, Status
from payments.services.payments import PaymentService
from payments.services.webhooks import BadSignature, Malformed, NoKey, Outcome, TooEarly, WebhookService
from shop_common.money import Money

KEY = "hush"
CHARGE = Charge(Money("EUR", 900), Method.CARD, "tok_visa", "order 1")


def sign(body: bytes, key: str = KEY, at: float | None = None) -> str:
    seconds = int(time.time() if at is None else at)
    return f"t={seconds},v1={hmac.new(key.encode(), f'{seconds}.'.encode() + body, hashlib.sha256).hexdigest()}"


def event(payment: str, id: str = "evt_1", kind: str = "payment.refunded") -> bytes:
    return json.dumps({"id": id, "type": kind, "data": {"payment": payment}, "more": 1}).encode()


def test_an_event_has_its_effect_once(database):
    payments, webhooks = PaymentService(database), WebhookService(database)
    payment = payments.authorize(CHARGE, "a").id
    body = event(payment)
    # An event that comes too early counts as new when it is sent again.
    for _ in range(2):
        with pytest.raises(TooEarly, match=payment):
            webhooks.receive(KEY, body, sign(body))
    payments.capture(payment, "c")
    assert webhooks.receive(KEY, body, sign(body)) is Outcome.APPLIED
    assert payments.get(payment).status is Status.REFUNDED
    assert webhooks.receive(KEY, body, sign(body)) is Outcome.REPEATED
    again = event(payment, "evt_2")
    assert webhooks.receive(KEY, again, sign(again)) is Outcome.IGNORED
    assert database.query(str, "select id from provider_events order by id") == ["evt_1", "evt_2"]


def test_events_without_an_effect_are_acknowledged(database):
    webhooks = WebhookService(database)
    for body in (event("nobody"), event("x", kind="payment.settled"), b'{"id":"e","type":"payout"}'):
        assert webhooks.receive(KEY, body, sign(body)) is Outcome.IGNORED


def test_a_bad_signature_is_refused(database):
    webhooks, body = WebhookService(database), event("x")
    for signature in ("", "t", "t=1", "v1=00", "t=1,t=1,v1=00", "t=-1,v1=00", "t=1,v1=0", "t=1,v1=0 0", "t=1" + ",v1=00" * 9):
        with pytest.raises(BadSignature, match="must be t=SECONDS,v1=HEX"):
            webhooks.receive(KEY, body, signature)
    for signature in (sign(body, "other"), sign(body + b" "), "t=99999999999999999999,v1=00"):
        with pytest.raises(BadSignature, match="does not fit the body"):
            webhooks.receive(KEY, body, signature)
    for at in (0, time.time() - 310, time.time() + 310, 10**15):
        with pytest.raises(BadSignature, match="is not of these five minutes"):
            webhooks.receive(KEY, body, sign(body, at=at))
    rotated = sign(body, "old") + "," + sign(body).partition(",")[2]
    assert webhooks.receive(KEY, body, rotated) is Outcome.IGNORED
    for key in (None, ""):
        with pytest.raises(NoKey):
            webhooks.receive(key, body, sign(body, key or ""))


def test_what_is_signed_and_no_event_is_told(database):
    webhooks = WebhookService(database)
    for body in (
        b"",
        b"\xff",
        b"[]",
        b"[" * 50_000,
        b"{}",
        b'{"id":1,"type":"x"}',
        b'{"id":"","type":"x"}',
        b'{"id":"e","type":"payment.refunded"}',
        b'{"id":"e","type":"payment.refunded","data":{"payment":7}}',
        event("x", "e" * 129),
        event("x") + b" " * 65_536,
    ):
        with pytest.raises(Malformed):
            webhooks.receive(KEY, body, sign(body))
