"""ULIDs: ids that sort by the time at which they were made (https://github.com/ulid/spec)."""

import os
import re
import time

# Crockford's base 32, in order of value.
ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
ULID = re.compile(r"[0-7][0-9A-HJKMNP-TV-Z]{25}")
RANDOM_BITS = 80


def new() -> str:
    """A new id, of this moment and 80 random bits. The manifest grants both as `clocks` and `random`."""
    return of(time.time_ns() // 1_000_000, int.from_bytes(os.urandom(RANDOM_BITS // 8)))


def of(millis: int, random: int) -> str:
    """The id of a moment, in milliseconds since 1970. The lowest 80 bits of `random` tell it from others of the same millisecond."""
    value = (millis << RANDOM_BITS) | (random & ((1 << RANDOM_BITS) - 1))
    return "".join(ALPHABET[(value >> shift) & 31] for shift in range(125, -1, -5))


def is_ulid(text: str) -> bool:
    """Whether a text can be an id."""
    return ULID.fullmatch(text) is not None
