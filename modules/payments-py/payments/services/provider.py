"""The built-in payment provider. It moves no money. Two card tokens fail, so that failures can be tried; every other charge succeeds."""

from payments.models.payment import Charge, Method

# The card token for which the provider always declines.
DECLINED = "tok_declined"
# The card token for which the provider never answers.
SILENT = "tok_timeout"


class Declined(Exception):
    """The charge is declined for good, for this reason."""


class Silent(Exception):
    """There is no answer. The amount may be reserved or not."""


def authorize(charge: Charge) -> None:
    """Asks the provider to reserve the amount of a charge."""
    if charge.method is Method.CARD and charge.token == DECLINED:
        raise Declined("the card was declined")
    if charge.method is Method.CARD and charge.token == SILENT:
        raise Silent("the payment provider does not answer")
