"""Turns the exceptions of a module's rules into the errors of its contract.

    errors = contract.Errors({
        Invalid: lambda error: api.Error_Invalid(InvalidField(error.field, error.reason)),
        Conflict: lambda error: api.Error_Conflict(str(error)),
        sql.SqlError: contract.database(api.Error_Unavailable, api.Error_Storage),
    })

    class Orders:
        @errors
        def get_order(self, id): …
"""

import functools
import logging
from collections.abc import Callable, Mapping

from watertight_guest.sql import SqlError


class Errors:
    """A decorator of exported functions. Any other exception ends the call, and its words and lines stand in the module's log."""

    def __init__(self, cases: Mapping[type[Exception], Callable]):
        self._cases = dict(cases)

    def __call__(self, function):
        @functools.wraps(function)
        def call(*arguments):
            from componentize_py_types import Err

            try:
                return function(*arguments)
            except tuple(self._cases) as error:
                convert = next(self._cases[kind] for kind in type(error).__mro__ if kind in self._cases)
                raise Err(convert(error)) from error

        return call


def database(unavailable: Callable[[str], object], storage: Callable[[str], object]) -> Callable[[SqlError], object]:
    """Returns what turns a database's error into a contract's. Its cause is logged here and goes no further."""

    def convert(error: SqlError):
        if error.is_temporary:
            return unavailable("the database is busy")
        logging.getLogger("sql").error("%s", error)
        return storage("the database failed")

    return convert
