"""Requests to other hosts, which the manifest allows: `uses = ["http"]` and `[modules.NAME.http] allow = ["https://api.example.com"]`.

    answer = http.request("POST", "https://api.example.com/charges", json={"amount": 450}, headers={"idempotency-key": key})
    if answer.status == 201:
        return answer.json()["id"]

The world imports `wasi:http/outgoing-handler@0.2.6`.
"""

import dataclasses
import importlib
import json as notation
from urllib.parse import urlsplit

# The number of bytes that are read or written at once.
CHUNK = 16 << 10
# The number of bytes that a body is read up to, unless the caller says otherwise.
MAX_BODY = 8 << 20


class HttpError(Exception):
    """There is no answer. The text says why, in the words of `wasi:http`."""


@dataclasses.dataclass
class Answer:
    """An answer with its whole body."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        """The first header of a name, in any case."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)

    def text(self) -> str:
        """The body as UTF-8."""
        return self.body.decode()

    def json(self):
        """The body as JSON."""
        return notation.loads(self.body)


def request(
    method: str, url: str, *, headers=None, body: bytes = b"", json=None, timeout: float = 10.0, max_body: int = MAX_BODY
) -> Answer:
    """Sends a request, and returns the answer with its body. `timeout` is in seconds, for the connection and for each wait."""
    types, handler = _imported("types"), _imported("outgoing_handler")
    from componentize_py_types import Err, Ok

    parts = urlsplit(url)
    if json is not None:
        body = notation.dumps(json).encode()
        headers = {"content-type": "application/json", **(headers or {})}
    fields = [(name, value.encode()) for name, value in {**(headers or {}), "content-length": str(len(body))}.items()]
    try:
        sent = types.OutgoingRequest(types.Fields.from_list(fields))
        sent.set_method(_method(types, method))
        sent.set_scheme(types.Scheme_Https() if parts.scheme == "https" else types.Scheme_Http())
        sent.set_authority(parts.netloc)
        sent.set_path_with_query((parts.path or "/") + (f"?{parts.query}" if parts.query else ""))
        options = types.RequestOptions()
        for limit in (options.set_connect_timeout, options.set_first_byte_timeout, options.set_between_bytes_timeout):
            limit(int(timeout * 1_000_000_000))
        outgoing = sent.body()
        waited = handler.handle(sent, options)
        if body:
            with outgoing.write() as stream:
                for start in range(0, len(body), CHUNK // 4):
                    # The interface takes 4 KiB at once.
                    stream.blocking_write_and_flush(body[start : start + CHUNK // 4])
        types.OutgoingBody.finish(outgoing, None)
        with waited.subscribe() as ready:
            ready.block()
        got = waited.get()
        waited.__exit__(None, None, None)
        inner = got.value if isinstance(got, Ok) else got
        if isinstance(inner, Err):
            raise inner
        return _read(types, inner.value, max_body)
    except Err as error:
        found = error.value
    raise HttpError(f"{method} {parts.scheme}://{parts.netloc}: {_words(found)}")


def _read(types, answer, max_body):
    from componentize_py_types import Err

    with answer:
        with answer.headers() as fields:
            headers = [(name, value.decode("latin-1")) for name, value in fields.entries()]
        status, body = answer.status(), b""
        with answer.consume() as incoming, incoming.stream() as stream:
            while True:
                try:
                    body += stream.blocking_read(CHUNK)
                except Err as error:
                    if type(error.value).__name__ == "StreamError_Closed":
                        break
                    raise HttpError("the answer was cut off") from None
                if len(body) > max_body:
                    raise HttpError(f"the answer is larger than {max_body} bytes")
    return Answer(status, headers, body)


def _method(types, method):
    known = getattr(types, f"Method_{method.capitalize()}", None)
    return known() if known else types.Method_Other(method)


def _words(error):
    name = type(error).__name__.rpartition("_")[2]
    detail = getattr(error, "value", None)
    return f"{name}: {detail}" if detail else name


def _imported(name):
    """Returns the interface of this name. componentize-py qualifies it where the world has another one of the same name."""
    qualified = f"wit_world.imports.wasi_http_{name}"
    try:
        return importlib.import_module(qualified)
    except ModuleNotFoundError:
        return importlib.import_module(f"wit_world.imports.{name}")
