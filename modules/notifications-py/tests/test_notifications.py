"""Notifications over a real database."""

import dataclasses
import logging

import pytest

from notifications.models.notification import Field
from notifications.services import templates
from notifications.services.notifications import Conflict, Notice, NotificationService, quoted
from shop_common.fields import Invalid
from watertight_guest import sql


def notice(recipient, order):
    return Notice(recipient, "order-placed", [Field("total", "9.00 EUR"), Field("order", order)])


def test_a_notice_is_rendered_kept_and_logged(database, caplog):
    shop = NotificationService(database)
    with caplog.at_level(logging.INFO):
        told = shop.notify(notice("ada", "1"), "k")
    assert told.text == "Thank you! Your order 1 over 9.00 EUR was placed."
    assert shop.list("ada") == ([told], None)
    assert caplog.record_tuples == [("notifications", logging.INFO, f'to "ada": {told.text}')]


def test_a_key_names_one_notice(database):
    shop = NotificationService(database)
    told = shop.notify(notice("ada", "1"), "k")
    again = notice("ada", "1")
    again.fields.reverse()
    assert shop.notify(again, "k") == told
    cancelled = dataclasses.replace(notice("ada", "1"), template="order-cancelled")
    for other in (notice("ada", "2"), notice("bob", "1"), cancelled):
        with pytest.raises(Conflict):
            shop.notify(other, "k")
    # A later build may word it otherwise: it's the same notice all the same.
    database.execute("update notifications set text = 'older words'")
    assert shop.notify(notice("ada", "1"), "k").id == told.id
    assert database.one(int, "select count(*) from notifications") == 1


def test_notices_are_checked(database):
    shop = NotificationService(database)
    long = "x" * 129
    for refused, key, field in [
        (notice("", "1"), "k", "recipient"),
        (notice(long, "1"), "k", "recipient"),
        (dataclasses.replace(notice("ada", "1"), template="hello"), "k", "template"),
        (dataclasses.replace(notice("ada", "1"), fields=[]), "k", "fields"),
        (notice("ada", "1"), "", "deduplication-key"),
        (notice("ada", "1"), long, "deduplication-key"),
    ]:
        with pytest.raises(Invalid) as found:
            shop.notify(refused, key)
        assert found.value.field == field
    assert database.one(int, "select count(*) from notifications") == 0


def test_lists_are_paged_newest_first(database, monkeypatch):
    # Ids that sort as they were made, within a millisecond too.
    made = iter(range(1, 100))
    monkeypatch.setattr("watertight_guest.ulid.new", lambda: f"{next(made):026}")
    shop = NotificationService(database)
    for order in range(1, 6):
        shop.notify(notice("ada", str(order)), f"a{order}")
        shop.notify(notice("bob", str(order)), f"b{order}")
    first, cursor = shop.list("ada", 3)
    second, end = shop.list("ada", 3, cursor)
    assert "".join(item.text[22] for item in first + second) == "54321"
    assert end is None
    with pytest.raises(Invalid):
        shop.list("")


def test_a_database_that_fails_is_told(database):
    database.execute("drop table notifications")
    with pytest.raises(sql.SqlError):
        NotificationService(database).notify(notice("ada", "1"), "k")


def test_every_template_renders_with_its_places_and_no_others():
    for template in templates.TEMPLATES:
        assert tuple(sorted(template.places)) == template.places
        rendered = template.render(template.arrange([Field(name, "<>") for name in template.places]))
        assert rendered.count("<>") == len(template.places)


def test_values_are_not_read_again():
    template = templates.find("order-placed")
    fields = template.arrange([Field("total", "{order} \\1"), Field("order", "{total}")])
    assert template.render(fields) == "Thank you! Your order {total} over {order} \\1 was placed."


def test_fields_fit_the_template():
    template = templates.find("order-placed")
    for pairs, field in [
        ([("order", "1")], "fields"),
        ([("order", "1"), ("colour", "red")], "fields[1].name"),
        ([("order", "1"), ("order", "2")], "fields[1].name"),
        ([("order", "1\n2"), ("total", "2")], "fields[0].value"),
        ([("order", "1\u0085"), ("total", "2")], "fields[0].value"),
        ([("order", "1" * 257), ("total", "2")], "fields[0].value"),
    ]:
        with pytest.raises(Invalid) as found:
            template.arrange([Field(name, value) for name, value in pairs])
        assert found.value.field == field


def test_a_logged_recipient_is_one_piece_of_one_line():
    for text, expected in [
        ("ada", '"ada"'),
        ('"a\\b"', '"\\"a\\\\b\\""'),
        ("a\n\t\r\0\x1b", '"a\\n\\t\\r\\u{0}\\u{1b}"'),
        ("José 日本 'x' e\u0301", "\"José 日本 'x' e\u0301\""),
        ("\u200b\u2028\u202e\u2066\ufeff\u0085", '"\\u{200b}\\u{2028}\\u{202e}\\u{2066}\\u{feff}\\u{85}"'),
    ]:
        assert quoted(text) == expected
