"""Checks what a module hands over: results and errors of its functions, and arguments of the functions that it calls.

componentize-py itself stops at a value of the wrong type without a line of the source. So every value is checked before it gets there, by
the rules of componentize-py and no stricter. There are two checks of a type: a fast one, whose code is generated, which accepts what is
usual; and one that decides on everything else and finds the words. The second takes a list of values, those of one place of a type.
"""

import keyword
import operator

import componentize_py_types

# The bounds of integers.
INTEGERS = {f"{sign}{bits}": bounds for bits in (8, 16, 32, 64) for sign, bounds in (
    ("u", (0, 2**bits - 1)),
    ("s", (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)),
)}

# The name of a constructor in a description.
CONSTRUCTOR = "[constructor]"

# The characters of a value that a message shows.
MAX_SHOWN = 60


class Mismatch(Exception):
    """A value that its type doesn't take, with the way to it within what was checked."""

    def __init__(self, kind, words, path=""):
        super().__init__(words)
        self.kind, self.words, self.path = kind, words, path


def described(value):
    text = repr(value)
    text = text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…"
    return f"{text}, which is of the type `{type(value).__name__}`"


def wrong(value, wanted):
    raise Mismatch(TypeError, f"is {described(value)}, and the contract says {wanted}")


def escaped(name):
    return f"{name}_" if keyword.iskeyword(name) else name


def snake(name):
    return escaped(name.replace("-", "_").lower())


def plain(part):
    """Returns what a name has in common in all spellings."""
    return part.replace("-", "").replace("_", "").lower() if isinstance(part, str) else part


def camel(name):
    return escaped("".join(word[:1].upper() + word[1:].lower() for word in name.split("-")))


class Contract:
    """The functions of the world, as `watertight build` describes them, with checks of their values."""

    def __init__(self, description, is_of_world):
        self.types = description["types"]
        # Whether a class is one of the world's own, which share their names with no others.
        self.is_of_world = is_of_world
        self.checks = {}
        self.functions = {}
        shorts = {}
        for function in description["functions"]:
            if function["interface"]:
                key = (function["export"], short(function["interface"]))
                shorts.setdefault(key, set()).add(function["interface"])
        for function in description["functions"]:
            interface = function["interface"]
            if interface and len(shorts[function["export"], short(interface)]) > 1:
                interface = interface.split("@")[0].replace(":", "-").replace("/", "-")
            key = (function["export"], interface and short(interface), function["resource"], function["name"])
            self.functions[tuple(map(plain, key))] = function
        self.fast = {"text": is_text, "is_of_world": is_of_world, "Ok": componentize_py_types.Ok, "Err": componentize_py_types.Err}
        for ty, described in enumerate(self.types):
            self.of(ty)
            exec(f"def type_{ty}(v):\n    return {self.condition(described)}\n", self.fast)

    def function(self, is_export, interface, resource, name):
        """Returns the description of a function by the names that it has in Python, or `None`."""
        name = CONSTRUCTOR if name == "__init__" else name
        return self.functions.get(tuple(map(plain, (is_export, interface, resource, name))))

    def check_of_arguments(self, function):
        """Returns a function that checks a list of arguments, without the resource of a method.

        It raises `TypeError`, `OverflowError` or `ValueError`.
        """
        checks = [self.check(f"the argument `{snake(name)}`", ty) for name, ty in function["parameters"]]

        def check(arguments):
            for one, value in zip(checks, arguments):
                one(value)

        return check

    def checks_of_result(self, function):
        """Returns two functions: one checks what a function returned, the other the value of an `Err` that it raised.

        They raise as those of `check_of_arguments` do.
        """
        ty = function and function["result"]
        described = self.types[ty] if isinstance(ty, int) else {}
        ok, err = (described["ok"], described["err"]) if described.get("kind") == "result" else (ty, None)
        return self.check("the result", ok), self.check("the error", err)

    def check(self, place, ty):
        """Returns the check of a value. `place` says in messages which value it is. Every value fits where there is no type."""
        if ty is None:
            return anything
        is_usual = eval(f"lambda v: {self.usual(ty, 'v')}", self.fast)

        def check(value):
            try:
                if is_usual(value):
                    return
            except Exception:
                pass
            try:
                self.of(ty)([value])
            except Mismatch as error:
                path = error.path.lstrip(".")
                raise error.kind(f"{f'`{path}` of ' if path else ''}{place} {error.words}") from None

        return check

    def usual(self, ty, value):
        """Returns the fast check of a type as an expression over the variable `value`."""
        if isinstance(ty, int):
            return f"type_{ty}({value})"
        if ty in INTEGERS:
            low, high = INTEGERS[ty]
            return f"type({value}) is int and {low} <= {value} <= {high}"
        usual = {"string": "type({0}) is str and ({0}.isascii() or text({0}))", "f32": "type({0}) is float"}
        usual |= {"f64": usual["f32"], "char": f"{usual['string']} and {{0}}"}
        return usual.get(ty, "True").format(value)

    def condition(self, described):
        """Returns the body of the function that is the fast check of a type, over its parameter `v`."""
        def part(attribute, ty):
            return "True" if ty is None else f"((w := {attribute}) is w and {self.usual(ty, 'w')})"

        match described["kind"]:
            case "record":
                return " and ".join(part(f"v.{snake(name)}", ty) for name, ty in described["fields"]) or "True"
            case "tuple":
                parts = (f" and {part(f'v[{index}]', ty)}" for index, ty in enumerate(described["items"]))
                return f"type(v) is tuple{''.join(parts)}"
            case "list" if described["item"] in ("u8", "s8"):
                return "type(v) is bytes"
            case "list":
                return f"type(v) is list and all([{self.usual(described['item'], 'w')} for w in v])"
            case "option" if not described["nested"]:
                return f"v is None or {self.usual(described['item'], 'v')}"
            case "result":
                return " or ".join(f"type(v) is {side.title()} and {part('v.value', described[side])}" for side in ("ok", "err"))
            case "variant":
                name = camel(described["name"])
                cases = (
                    f"type(v).__name__ == '{name}_{camel(case)}' and {part('v.value', ty)}" for case, ty in described["cases"]
                )
                return f"is_of_world(type(v)) and ({' or '.join(cases)})"
            case "enum":
                return f"type(v.value) is int and 0 <= v.value < {len(described['cases'])}"
            case "handle":
                return "True" if described["exported"] else "hasattr(v, 'handle')"
        # The other check decides.
        return "False"

    def of(self, ty):
        """Returns the check of a type: a function of a list of values."""
        if ty not in self.checks:
            self.checks[ty] = self.primitive(ty) if isinstance(ty, str) else getattr(self, self.types[ty]["kind"])(self.types[ty])
        return self.checks[ty]

    def primitive(self, ty):
        if ty in INTEGERS:
            return integer(ty, *INTEGERS[ty])
        return {"string": string, "char": character, "f32": real, "f64": real}.get(ty, anything)

    def unknown(self, _):
        return anything

    def handle(self, described):
        if described["exported"]:
            return anything

        def check(values):
            for value in values:
                if not hasattr(value, "handle"):
                    if type(value).__name__ == camel(described["name"]):
                        raise Mismatch(TypeError, f"is a `{type(value).__name__}` that was handed over before")
                    wrong(value, f"`{described['name']}`")

        return check

    def option(self, described):
        item = self.of(described["item"])
        some = componentize_py_types.Some

        def check(values):
            values = [value for value in values if value is not None]
            if described["nested"]:
                for value in values:
                    if not hasattr(value, "value"):
                        wrong(value, "an option in an option: `Some(…)`")
                values = [value.value for value in values]
            if values:
                item(values)

        return check

    def result(self, described):
        sides = [(componentize_py_types.Ok, "ok", described["ok"]), (componentize_py_types.Err, "err", described["err"])]

        def check(values):
            for value in values:
                if type(value) is not sides[0][0] and type(value) is not sides[1][0]:
                    wrong(value, "a result: `Ok(…)` or `Err(…)`")
            for side, name, ty in sides:
                if ty is not None:
                    self.within(f".{name}", ty, [value.value for value in values if type(value) is side])

        return check

    def tuple(self, described):
        items = described["items"]

        def check(values):
            for value in values:
                if not isinstance(value, tuple) or len(value) < len(items):
                    wrong(value, f"a tuple of {len(items)}")
            for index, ty in enumerate(items):
                self.within(f".{index}", ty, [value[index] for value in values])

        return check

    def list(self, described):
        item = described["item"]
        if item in ("u8", "s8"):
            # Only componentize-py knows whether a type that is another name of `u8` is one of bytes too.
            return bytes_only if described["bytes"] else anything

        def check(values):
            for value in values:
                if not isinstance(value, list):
                    wrong(value, "a list")
            self.within("[]", item, values[0] if len(values) == 1 else [one for value in values for one in value])

        return check

    def record(self, described):
        fields = [(name, snake(name), ty) for name, ty in described["fields"]]

        def check(values):
            for name, attribute, ty in fields:
                try:
                    column = [getattr(value, attribute) for value in values]
                except AttributeError:
                    value = next(value for value in values if not hasattr(value, attribute))
                    kind = type(value).__name__
                    words = f"is of the type `{kind}`, which has no field `{attribute}` as `{described['name']}` has"
                    raise Mismatch(TypeError, words) from None
                self.within(f".{attribute}", ty, column)

        return check

    def variant(self, described):
        name = camel(described["name"])
        cases = {f"{name}_{camel(case)}": (case, ty) for case, ty in described["cases"]}

        def check(values):
            by_case = {}
            for value in values:
                kind = type(value)
                if kind.__name__ not in cases or not self.is_of_world(kind):
                    wrong(value, f"`{described['name']}`: {', '.join(f'`{case}`' for case in cases)}")
                by_case.setdefault(kind.__name__, []).append(value)
            for kind, found in by_case.items():
                case, ty = cases[kind]
                if ty is not None:
                    self.within(f".{snake(case)}", ty, [value.value for value in found])

        return check

    def enum(self, described):
        names = ", ".join(described["cases"])
        number = integer(described["name"], 0, len(described["cases"]) - 1)

        def check(values):
            for value in values:
                if not hasattr(value, "value"):
                    wrong(value, f"`{described['name']}`: {names}")
            number([value.value for value in values])

        return check

    def flags(self, described):
        def check(values):
            for value in values:
                if type(getattr(value, "value", None)) is not int or value.value < 0:
                    wrong(value, f"flags of `{described['name']}`")

        return check

    def within(self, step, ty, values):
        if values:
            try:
                self.of(ty)(values)
            except Mismatch as error:
                error.path = f"{step}{error.path}"
                raise


def short(interface):
    """Returns the interface's own name: `orders` of `shop:orders/orders@1.0.0`."""
    return interface.split("@")[0].rpartition("/")[2]


def anything(_):
    """Takes every value: any is a `bool`, by its truth, and componentize-py checks streams itself."""


def integer(name, low, high):
    def check(values):
        if {*map(type, values)} == {int} and low <= min(values) and max(values) <= high:
            return
        for value in values:
            try:
                number = operator.index(value)
            except TypeError:
                wrong(value, f"`{name}`")
            if not low <= number <= high:
                raise Mismatch(OverflowError, f"is {number}, and `{name}` goes from {low} to {high}")

    return check


def real(values):
    for value in values:
        if type(value) is float:
            continue
        if isinstance(value, str | bytes | bytearray):
            wrong(value, "a float")
        try:
            float(value)
        except TypeError:
            wrong(value, "a float")
        except OverflowError:
            raise Mismatch(OverflowError, f"is {described(value)}: too large for a float") from None


def is_text(value):
    """Whether a string can be written as UTF-8."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def string(values):
    for value in values:
        if not isinstance(value, str):
            wrong(value, "`string`")
        if not value.isascii():
            try:
                value.encode()
            except UnicodeEncodeError as error:
                raise Mismatch(ValueError, f"is {described(value)}, which is no text: {error.reason}") from None


def character(values):
    string(values)
    for value in values:
        if not value:
            wrong(value, "`char`: one character")


def bytes_only(values):
    for value in values:
        if not isinstance(value, bytes):
            wrong(value, "`list<u8>`: `bytes`")
