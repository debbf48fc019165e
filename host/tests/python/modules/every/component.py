# Gives back what it gets, draws what a language brings along, and fails in every way that there is. The test knows the lines of this file.
import json
import random
import secrets
import time
import uuid
from datetime import UTC, datetime
from decimal import Decimal
from os import urandom

from componentize_py_types import Err, Ok
from wit_world.exports import fails as contract
from wit_world.imports import values as neighbour

import deeper


class Refusal(Exception):
    pass


def error():
    raise ValueError("words that somebody reads")


def own():
    raise Refusal("of a class of its own")


def cause():
    try:
        {}["missing"]
    except KeyError as error:
        raise Refusal("with a cause") from error


def bad():
    raise Err(contract.Error_Bad("the contract knows this"))


def worse():
    raise Err(contract.Error_Worse(-1))


WAYS = {
    "error": error,
    "own": own,
    "deep": deeper.deeper,
    "recursion": lambda: WAYS["recursion"]() + "",
    "json": lambda: json.loads("{"),
    "cause": cause,
    "good": lambda: "good",
    "bad": bad,
    "worse": worse,
    "result": lambda: 5,
    "exit": lambda: exit_(),
    "argument": lambda: neighbour.signed("7"),
    "number": lambda: neighbour.signed(n=1 << 63),
    "payload": lambda: payload(),
}


def exit_():
    raise SystemExit("it leaves")


def payload():
    raise Err(contract.Error_Worse("a text"))


def from_function():
    import statistics

    return str(statistics.mean([1, 3]))


REFUSED = {
    "function": from_function,
    "strptime": lambda: datetime.strptime("2026-11-30", "%Y-%m-%d").isoformat(),
    "decimal": lambda: str(Decimal("0.1") + Decimal("0.2")),
    "idna": lambda: "bücher".encode("idna").decode(),
    "module": lambda: __import__("sqlite3"),
    "codec": lambda: "x".encode("cp437"),
    "file": lambda: open("/etc/passwd"),
}


class Fails:
    def fail(self, how):
        return WAYS[how]()

    def plain(self, how):
        return WAYS[how]()

    def refused(self, name):
        try:
            return REFUSED[name]()
        except Exception as error:
            return f"{type(error).__name__}: {error}"


class Ambient:
    def uuids(self, count):
        return [str(uuid.uuid4()) for _ in range(count)]

    def random(self):
        return random.random()

    def bytes(self, count):
        return secrets.token_bytes(count // 2) + urandom(count - count // 2)

    def now(self):
        return time.time() * 1000

    def dates(self):
        return [datetime.now(UTC).isoformat(), time.strftime("%Y-%m-%d", time.gmtime()), datetime.fromtimestamp(0, UTC).isoformat()]

    def elapsed(self):
        return time.perf_counter() * 1000, time.monotonic() * 1000

    refused = Fails.refused


def same(name):
    return lambda self, n: n


class Values:
    signed = unsigned = in_record = in_short_record = in_variant = in_tuple = in_option = in_unsigned_option = same("n")
    in_list = in_unsigned_list = in_list_of_records = in_list_of_results = same("n")
    half = signed_half = real = single = in_mixed = in_narrow = in_plain = same("n")

    def words(self, n):
        return str(n)

    unsigned_words = words

    def parsed(self, text):
        return int(text)

    unsigned_parsed = parsed

    def in_floating(self, n, m):
        return n

    def as_result(self, n):
        if isinstance(n, Ok):
            return n.value
        raise n

    def as_error(self, n):
        raise Err(n)

    def as_problem(self, problem):
        raise Err(problem)

    def in_many(self, *all):
        return [str(n) for n in all]

    def in_small(self, *all):
        return [shown(n) for n in all]


def shown(value):
    """As Rust writes it."""
    if isinstance(value, list | bytes):
        return ",".join(shown(one) for one in value)
    return str(value).lower() if isinstance(value, bool) else str(value)


class Relayed:
    pass


for name in [name for name in vars(Values) if not name.startswith("_")]:
    setattr(Relayed, name, lambda self, *all, ask=getattr(neighbour, name): ask(*all))
