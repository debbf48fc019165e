"""Money: an amount of one currency in the currency's smallest unit."""

import re
from dataclasses import dataclass

from shop_common.fields import Invalid

CURRENCY = re.compile(r"[A-Z]{3}")


@dataclass(frozen=True)
class Money:
    """An amount of one currency."""

    currency: str
    """The ISO 4217 code of the currency."""
    minor: int
    """The amount in the currency's smallest unit."""

    def check_price(self, field: str) -> None:
        """Refuses an amount that can't be a price: a negative one, or one whose currency is not three capital letters."""
        if not CURRENCY.fullmatch(self.currency):
            raise Invalid(f"{field}.currency", "must be three capital letters, as in ISO 4217")
        if self.minor < 0:
            raise Invalid(f"{field}.minor", "must not be negative")
