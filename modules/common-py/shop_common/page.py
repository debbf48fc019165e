"""Pages of a list, newest first. Lists are cut by the last id that was seen, so a page costs the same wherever it starts."""

import base64
import binascii
from collections.abc import Sequence
from typing import TypeVar

from shop_common.fields import Invalid
from watertight_guest import ulid

DEFAULT_LIMIT = 20
MAX_LIMIT = 100
# Sorts behind every ULID.
END = "~"

T = TypeVar("T")


class Page:
    """Which part of a list is asked for."""

    def __init__(self, limit: int | None = None, after: str | None = None):
        """Reads a contract's `limit` and `after`."""
        self._limit = DEFAULT_LIMIT if limit is None else limit
        if not 1 <= self._limit <= MAX_LIMIT:
            raise Invalid("limit", f"must be between 1 and {MAX_LIMIT}")
        self.before = END if after is None else _decode(after)
        """Items have ids below this."""

    @property
    def fetch(self) -> int:
        """How many items to fetch: one more than are shown tells whether there is a next page."""
        return self._limit + 1

    def cut(self, fetched: Sequence[T]) -> tuple[list[T], str | None]:
        """The page's items from what was fetched, and the cursor of the next page."""
        items = list(fetched[: self._limit])
        return items, _encode(items[-1].id) if len(fetched) > len(items) else None


def _encode(id: str) -> str:
    return base64.urlsafe_b64encode(id.encode()).decode().rstrip("=")


def _decode(cursor: str) -> str:
    try:
        id = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
    except (binascii.Error, ValueError):
        id = ""
    # Each id has one cursor: other spellings, which the decoder overlooks, make another text.
    if not ulid.is_ulid(id) or _encode(id) != cursor:
        raise Invalid("after", "must be a cursor that a page had")
    return id
