"""Payments over a real database."""

import dataclasses
import logging

import pytest

from payments.models.payment import Charge, Method, Status
from payments.services.payments import Conflict, NotFound, PaymentService
from payments.services.provider import Declined, Silent
from shop_common.fields import Invalid
from shop_common.money import Money

CHARGE = Charge(Money("EUR", 900), Method.CARD, "tok_visa", "order 1")


def test_a_payment_takes_its_steps_once(database, caplog):
    shop = PaymentService(database)
    with caplog.at_level(logging.INFO):
        payment = shop.authorize(CHARGE, "a")
        assert (payment.status, payment.charge) == (Status.AUTHORIZED, CHARGE)
        for step, key, status in [(shop.capture, "c", Status.CAPTURED), (shop.refund, "r", Status.REFUNDED)]:
            assert step(payment.id, key).status is status
            assert step(payment.id, key).status is status
            with pytest.raises(Conflict, match=f"a payment that is {status.value} can't be"):
                step(payment.id, "other")
    assert shop.get(payment.id).status is Status.REFUNDED
    assert caplog.messages == [f"{payment.id} captured", f"{payment.id} refunded"]


def test_a_key_names_one_charge(database):
    shop = PaymentService(database)
    payment = shop.authorize(CHARGE, "a")
    assert shop.authorize(CHARGE, "a") == payment
    for other in (
        dataclasses.replace(CHARGE, amount=Money("EUR", 901)),
        dataclasses.replace(CHARGE, method=Method.WALLET),
        dataclasses.replace(CHARGE, method=Method.INVOICE, token=None),
        dataclasses.replace(CHARGE, reference="order 2"),
    ):
        with pytest.raises(Conflict):
            shop.authorize(other, "a")
    shop.capture(payment.id, "c")
    assert shop.authorize(CHARGE, "a").status is Status.CAPTURED
    assert database.one(int, "select count(*) from payments") == 1


def test_a_declined_charge_stays_declined(database):
    shop = PaymentService(database)
    declined = dataclasses.replace(CHARGE, token="tok_declined")
    for _ in range(2):
        with pytest.raises(Declined, match="the card was declined"):
            shop.authorize(declined, "a")
    id = database.one(str, "select id from payments")
    for act in (shop.get, lambda id: shop.capture(id, "c")):
        with pytest.raises(NotFound):
            act(id)


def test_a_silent_provider_leaves_nothing(database):
    shop = PaymentService(database)
    with pytest.raises(Silent):
        shop.authorize(dataclasses.replace(CHARGE, token="tok_timeout"), "a")
    assert database.one(int, "select count(*) from payments") == 0


def test_charges_are_checked(database):
    shop = PaymentService(database)
    for change, key, field in [
        ({"amount": Money("EUR", -1)}, "k", "amount.minor"),
        ({"amount": Money("eur", 1)}, "k", "amount.currency"),
        ({"reference": ""}, "k", "reference"),
        ({"token": ""}, "k", "method.card"),
        ({"method": Method.WALLET, "token": "x" * 129}, "k", "method.wallet"),
        ({}, "", "idempotency-key"),
    ]:
        with pytest.raises(Invalid) as found:
            shop.authorize(dataclasses.replace(CHARGE, **change), key)
        assert found.value.field == field
    shop.authorize(dataclasses.replace(CHARGE, method=Method.INVOICE, token=None, amount=Money("EUR", 0)), "free")
