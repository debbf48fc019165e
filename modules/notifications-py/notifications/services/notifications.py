"""The rules of notifications."""

import logging
import re
from dataclasses import dataclass

from notifications.models.notification import Field, Notifications, Record, fields_to_column
from notifications.services import templates
from shop_common.fields import check_key, check_text
from shop_common.page import Page
from watertight_guest import clock, ulid
from watertight_guest.sql import Database

# The longest recipient, in bytes.
MAX_RECIPIENT = 128

log = logging.getLogger("notifications")


class Conflict(Exception):
    """The key belongs to another notice."""


@dataclass
class Notice:
    """What is to be said to whom."""

    recipient: str
    template: str
    fields: list[Field]


class NotificationService:
    """Notifications that are kept in a database."""

    def __init__(self, database: Database):
        self._notifications = Notifications(database)

    def notify(self, notice: Notice, key: str) -> Record:
        """Renders, keeps and logs a notice. The key names it for good: the same notice again returns what it made."""
        check_text("recipient", notice.recipient, MAX_RECIPIENT)
        template = templates.find(notice.template)
        fields = template.arrange(notice.fields)
        check_key("deduplication-key", key)
        wanted = Record(
            id=ulid.new(),
            recipient=notice.recipient,
            template=notice.template,
            text=template.render(fields),
            created_at=clock.timestamp(clock.now()),
            fields=fields_to_column(fields),
        )
        if not self._notifications.insert(wanted, key):
            return self._known(wanted, key)
        log.info("to %s: %s", quoted(wanted.recipient), wanted.text)
        return wanted

    def list(self, recipient: str, limit: int | None = None, after: str | None = None) -> tuple[list[Record], str | None]:
        """What a recipient was told, newest first, and the cursor of the next page."""
        check_text("recipient", recipient, MAX_RECIPIENT)
        page = Page(limit, after)
        return page.cut(self._notifications.list(recipient, page))

    def _known(self, wanted: Record, key: str) -> Record:
        """What the key names already, where the same was to be said. By its fields: the template's text may have changed since."""
        known = self._notifications.find_by_key(key)
        said = lambda record: (record.recipient, record.template, record.fields)
        if known is None or said(known) != said(wanted):
            raise Conflict("the deduplication key belongs to another notice")
        return known


ESCAPES = {"\t": "\\t", "\r": "\\r", "\n": "\\n", '"': '\\"', "\\": "\\\\"}

# Quotes, control characters, and those that end a line, hide or turn what stands after them.
ESCAPED = re.compile(r'["\\\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff]')


def quoted(text: str) -> str:
    """A text in quotes, as every build's log has it: one piece of one line, whatever it holds."""
    return '"' + ESCAPED.sub(lambda char: ESCAPES.get(char[0], f"\\u{{{ord(char[0]):x}}}"), text) + '"'
