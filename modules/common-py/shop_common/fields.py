"""How a field is checked and refused."""

# The longest idempotency or deduplication key, in bytes.
MAX_KEY = 128


class Invalid(Exception):
    """A field that was understood and can't be accepted."""

    def __init__(self, field: str, reason: str):
        super().__init__(f"{field} {reason}")
        self.field = field
        """The path to it in the contract's own names: `fields[0].value`."""
        self.reason = reason
        """The rest of a sentence that the field begins."""


def byte_length(text: str) -> int:
    """How long a text is in UTF-8."""
    return len(text.encode())


def check_text(field: str, text: str, most: int) -> None:
    """Refuses a text that is empty or longer than `most` bytes."""
    if not text:
        raise Invalid(field, "must not be empty")
    if byte_length(text) > most:
        raise Invalid(field, f"must not be longer than {most} bytes")


def check_key(field: str, key: str) -> None:
    """Refuses a key that can't name a request."""
    check_text(field, key, MAX_KEY)
