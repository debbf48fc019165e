"""The notifications module: tells customers what happened, each thing once.

`services` has the rules and the texts, `models` what is kept and its SQL; `component.py` makes it a component. The rules know no host and
no HTTP. The same module in Rust stands in `../notifications`: both must pass `wit/notifications/suite`.
"""
