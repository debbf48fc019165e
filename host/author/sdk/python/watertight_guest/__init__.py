"""What Python modules of Watertight share: SQL, ids, time, the log and outbound HTTP, over the host's capabilities.

Nothing here is imported from the host until a module connects to a capability (`sql.connect()`, `log.install()`, `http.request()`), so
rules that use this package run natively too: `watertight_guest.testing` has a database over an SQLite file.
"""
