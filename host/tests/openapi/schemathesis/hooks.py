"""Changes what Schemathesis sends, where a document can't say what the host or the shop takes, so that requests get further."""

import schemathesis
from schemathesis.core import NOT_SET

# The ids of payments that answers have named.
payments = []


@schemathesis.hook
def before_load_schema(context, raw_schema):
    """Closes the objects of the shop. The document leaves them open, because answers may get further fields later. It says in words that a
    field of a request which is not described is a fault."""
    for name, schema in raw_schema["components"]["schemas"].items():
        if name not in ("Problem", "Fault"):
            close(schema)
    for path in raw_schema["paths"].values():
        for operation in path.values():
            for media in operation.get("requestBody", {}).get("content", {}).values():
                close(media.get("schema", {}))


def close(schema):
    if schema.get("type") == "object" and "properties" in schema:
        schema.setdefault("additionalProperties", False)


@schemathesis.hook
def before_call(context, case, kwargs):
    case.body = without_whole_floats(case.body)
    case.query = without_whole_floats(case.query)
    mode = case.meta.generation.mode if case.meta else None
    if mode is not None and mode.is_positive:
        get_further(case)
    elif case.method == "PATCH" and case.body is NOT_SET:
        # A change that is absent changes nothing, and is a valid one. Some of these count as invalid.
        case.body = {"gift": 5}


def without_whole_floats(value):
    """Writes `1.0` as `1`. To JSON Schema both are integers; the host takes only the second form, because it never rounds a number."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {name: without_whole_floats(item) for name, item in value.items()}
    if isinstance(value, list):
        return [without_whole_floats(item) for item in value]
    return value


def get_further(case):
    """Makes every other order one that the shop takes, and asks for what is there. Else hardly any request reaches the shop's data."""
    if len(repr(case.body) + repr(case.headers)) % 2 == 0:
        return
    if case.method == "POST" and case.path == "/orders" and isinstance(case.body, dict):
        case.body = orderable(case.body)
    elif case.method == "GET" and case.path.startswith("/products/{sku}/picture"):
        case.path_parameters = {"sku": "tea"}
    elif case.path.startswith("/payments/{id}") and payments:
        case.path_parameters = {"id": payments[-1]}


def orderable(draft):
    def line(line):
        price = {"currency": "EUR", "minor": abs(line["unit_price"]["minor"]) % 10_000}
        return {"sku": line["sku"][:16] or "tea", "quantity": line["quantity"] % 100 + 1, "unit_price": price}

    lines = [line(one) for one in draft["lines"][:100]]
    return {"customer": draft["customer"][:32] or "ada", "lines": lines, "payment": {"card": "tok_visa"}}


@schemathesis.hook
def after_call(context, case, response):
    try:
        answer = response.json()
    except ValueError:
        return
    if isinstance(answer, dict) and answer.get("payment_id"):
        payments.append(answer["payment_id"])
