from dataclasses import dataclass

import pytest

from shop_common.fields import Invalid, check_key, check_text
from shop_common.money import Money
from shop_common.page import Page


@dataclass
class Item:
    id: str


def refused(field, act):
    with pytest.raises(Invalid) as found:
        act()
    assert found.value.field == field


def test_texts_are_bounded_in_bytes():
    check_text("name", "x", 1)
    refused("name", lambda: check_text("name", "", 1))
    with pytest.raises(Invalid, match="name must not be longer than 1 bytes"):
        check_text("name", "é", 1)
    check_key("key", "k" * 128)
    refused("key", lambda: check_key("key", "k" * 129))


def test_pages_follow_each_other():
    items = [Item("01ARYZ6S41ZZZZZZZZZZZZZZZ2"), Item("01ARYZ6S41ZZZZZZZZZZZZZZZ1")]
    first = Page(1)
    assert (first.before, first.fetch) == ("~", 2)
    shown, cursor = first.cut(items)
    assert shown == items[:1]
    second = Page(1, cursor)
    assert second.before == items[0].id
    assert second.cut(items[1:]) == (items[1:], None)


GOOD = "MDFBUllaNlM0MVpaWlpaWlpaWlpaWlpaWjE"


def test_limits_and_cursors_are_checked():
    for limit in (0, 101, 2**32 - 1):
        refused("limit", lambda: Page(limit))
    for cursor in ("", "x", "fg", "é", "MDFBUllaNlM0MQ", f"{GOOD}\n", f" {GOOD}", f"{GOOD}=", f"{GOOD[:-1]}F", GOOD[:8] + "*" + GOOD[8:]):
        refused("after", lambda: Page(1, cursor))
    assert Page(None, GOOD).fetch == 21


def test_prices_are_checked():
    Money("EUR", 0).check_price("p")
    refused("p.minor", lambda: Money("EUR", -1).check_price("p"))
    for currency in ("", "eur", "EURO", "E1R", "€", "EUR\n"):
        refused("p.currency", lambda: Money(currency, 1).check_price("p"))
