"""The payments module. A payment is authorized, then captured, then refunded. A repeated step takes effect only once.

`services` has the rules and the payment provider, `models` what is kept and its SQL; `component.py` makes it a component. The rules know no
host and no HTTP. The same module in Rust stands in `../payments`: both must pass `wit/payments/suite`.
"""
