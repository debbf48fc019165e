"""Python's `logging`, into the module's log.

    log.install()                                            # once, where the component is put together
    logging.getLogger("orders").info("order %s placed", id)  # the logger's name is the line's context
"""

import logging


class Handler(logging.Handler):
    """Writes records into the module's log. The world imports `wasi:logging/logging@0.1.0-draft`."""

    def __init__(self, level: int = logging.NOTSET):
        super().__init__(level)
        from wit_world.imports import logging as host

        self._host = host
        levels = host.Level
        self._levels = [
            (logging.CRITICAL, levels.CRITICAL),
            (logging.ERROR, levels.ERROR),
            (logging.WARNING, levels.WARN),
            (logging.INFO, levels.INFO),
            (logging.DEBUG, levels.DEBUG),
        ]

    def emit(self, record: logging.LogRecord) -> None:
        """Writes one record: its message, and the traceback of its exception if it has one."""
        level = next((level for least, level in self._levels if record.levelno >= least), self._host.Level.TRACE)
        self._host.log(level, record.name, self.format(record))


def install(level: int = logging.INFO) -> None:
    """Sends what all loggers write, from this level on, into the module's log."""
    root = logging.getLogger()
    root.handlers[:] = [Handler()]
    root.setLevel(level)
