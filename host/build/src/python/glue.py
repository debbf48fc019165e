"""The component's outermost code. componentize-py looks for the exports here.

It loads the module's own code, checks that every export is there, and puts a guard around each function that the world exports or
imports. The guard checks the values that the module hands over. An exception that is not the contract's error is reported with words, file
and line, and ends the call. Everything above the guards runs once, at build time; the instance that results is saved, and every instance of
the component begins with it.
"""

import codecs
import functools
import importlib
import inspect
import os
import pkgutil
import random
import sys
import types
import typing

import componentize_py_types
import wit_world.imports
import watertight_settings as settings
import watertight_values as values
from wit_world.imports import watertight_failure as failure

# Codecs and modules that the standard library loads only when they are first used.
PRELOADED = [
    "_strptime", "calendar", "datetime", "decimal", "fractions", "json", "secrets", "string", "time", "traceback", "uuid", "zoneinfo",
    *(f"encodings.{name}" for name in (
        "aliases", "ascii", "base64_codec", "cp1252", "hex_codec", "idna", "latin_1", "punycode", "raw_unicode_escape", "unicode_escape",
        "utf_16", "utf_16_be", "utf_16_le", "utf_32", "utf_8", "utf_8_sig",
    )),
]

# The numbers of frames, and of causes, that a report names at most. A host takes 2 KiB of it.
MAX_FRAMES = 12
MAX_CAUSES = 4

MISSING = (
    "is not in the component, which has what was loaded when it was built: import it at the top level of a file, or name it in `preload` "
    "of `[tool.watertight]` in pyproject.toml"
)


CONTRACT = values.Contract(settings.CONTRACT, lambda kind: kind.__module__.split(".")[0] == "wit_world")


class _Refused(Exception):
    """The reason why the module can't become a component. The build shows the words without a traceback."""


def tell_names(error):
    """Adds to an error about a name that a package of the world doesn't have the names that it has."""
    module = getattr(error, "obj", None)
    if isinstance(error, ImportError):
        name = error.name or ""
        module = sys.modules.get(name) or sys.modules.get(name.rpartition(".")[0])
    if not isinstance(module, types.ModuleType) or module.__name__.partition(".")[0] != "wit_world":
        return
    is_name = lambda name, value: not name.startswith("_") and (
        isinstance(value, types.ModuleType) and value.__name__.startswith("wit_world.") or is_protocol(value)
    )
    folder = [one.name for one in pkgutil.iter_modules(getattr(module, "__path__", []))]
    names = sorted({*folder, *(name for name, value in vars(module).items() if is_name(name, value))})
    text = f"{error}; `{module.__name__}` has {', '.join(f'`{name}`' for name in names)}"
    if isinstance(error, ImportError):
        error.msg = text
    error.args = (text,)


def main():
    """Loads the module's code, and makes its exports those of the component."""
    for name in PRELOADED:
        importlib.import_module(name)
    before = random.getstate()
    for interface in pkgutil.iter_modules(wit_world.imports.__path__):
        guard_imports(interface.name, importlib.import_module(f"wit_world.imports.{interface.name}"))
    guard_imports(None, wit_world)
    with _Randomness():
        try:
            component = importlib.import_module(settings.COMPONENT)
        except (ImportError, AttributeError) as error:
            tell_names(error)
            raise
        for name in settings.PRELOAD:
            importlib.import_module(name)
        load_what_functions_import()
    if random.getstate() != before:
        raise _Refused(
            "numbers were drawn from `random` at the top level of a file: every instance would have the same. Draw them in a function"
        )
    import wit_world.exports as exports

    for name, protocol in list(vars(exports).items()):
        if is_protocol(protocol):
            globals()[name] = exported(component, name, protocol, (name, None))
        elif isinstance(protocol, types.ModuleType):
            for resource, protocol in list(vars(protocol).items()):
                if is_protocol(protocol):
                    module_of(name).__dict__.setdefault(resource, exported(component, resource, protocol, (name, resource)))
    if functions_of(wit_world.WitWorld):
        globals()["WitWorld"] = exported(component, "WitWorld", wit_world.WitWorld, (None, None))
    for name, value in list(vars(component).items()):
        # componentize-py has no protocol for an interface that stands in the world itself, and looks for its class all the same.
        if isinstance(value, type):
            globals().setdefault(name, value)
    sys.meta_path.append(_Missing)
    codecs.register(missing_codec)
    sys.excepthook = unguarded


class _Randomness:
    """Refuses random seeds while the module's code loads: they would be the same in every instance."""

    def __enter__(self):
        self.seed = random.Random.seed
        self.urandom = os.urandom

        def seed(generator, a=None, version=2):
            if a is None:
                refused()
            self.seed(generator, a, version)

        def urandom(size):
            # A file may keep this function: `from os import urandom`.
            if self.is_loading:
                refused()
            return self.urandom(size)

        def refused():
            raise RuntimeError("random numbers at the top level of a file would be the same in every instance: draw them in a function")

        self.is_loading = True
        random.Random.seed = seed
        os.urandom = random._urandom = urandom

    def __exit__(self, *_):
        self.is_loading = False
        random.Random.seed = self.seed
        os.urandom = random._urandom = self.urandom


def load_what_functions_import():
    """Loads what functions of loaded files import when they run. There are no files to import from at run time."""
    seen = set()
    while names := [name for name in settings.IMPORTED_LATER if name in sys.modules and name not in seen]:
        for name in names:
            seen.add(name)
            for wanted in settings.IMPORTED_LATER[name]:
                try:
                    importlib.import_module(wanted)
                except Exception:
                    # It may be an attribute of a module, or for another platform.
                    pass


class _Missing:
    """The last of the import system: says why a module can't be imported at run time."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        raise ModuleNotFoundError(f"the Python module `{name}` {MISSING}", name=name)


def missing_codec(name):
    raise LookupError(f"the codec `{name}` {MISSING} (as `encodings.{name}`)")


def is_protocol(value):
    return isinstance(value, type) and typing.Protocol in value.__bases__


def functions_of(protocol):
    """The functions of an interface or a resource that the module defines. All others in the class are Python's own."""
    return {name: value for name, value in vars(protocol).items() if getattr(value, "__isabstractmethod__", False)}


def module_of(interface):
    """The Python module in which componentize-py looks for the resources of an exported interface."""
    if interface not in sys.modules:
        sys.modules[interface] = types.ModuleType(interface)
    return sys.modules[interface]


def exported(component, name, protocol, place):
    """Returns the module's class of this name, with a guard around each function of the protocol.

    `place` has the interface, and the resource if the class is one.
    """
    found = getattr(component, name, None)
    where = f"`{settings.COMPONENT}`"
    functions = functions_of(protocol)
    if not isinstance(found, type):
        raise _Refused(
            f"{where} has no class `{name}`, which the world exports: `class {name}:` with {', '.join(f'`{one}`' for one in functions)}"
        )
    for function, declared in functions.items():
        bases = (base for base in found.__mro__ if function in vars(base) and base not in (protocol, object))
        own = next((vars(base)[function] for base in bases), None)
        if own is None:
            raise _Refused(f"the class `{name}` of {where} has no function `{function}`, which the world exports")
        label = name if function == "__init__" else f"{name}.{function}"
        setattr(found, function, guard(label, own, declared, CONTRACT.function(True, *place, function)))
    # The protocol has what starts an asynchronous function.
    return found if protocol in found.__mro__ else types.new_class(name, (found, protocol))


def guard_imports(interface, module):
    """Puts a guard around each function that the module can import from an interface of the world."""
    if interface == "watertight_failure":
        return
    for name, value in list(vars(module).items()):
        if inspect.isfunction(value) and value.__module__ == module.__name__:
            setattr(module, name, checked(value, CONTRACT.function(False, interface, None, name), 0))
        elif isinstance(value, type) and value.__module__ == module.__name__:
            for function, own in list(vars(value).items()):
                described = CONTRACT.function(False, interface, name, function)
                if described and isinstance(own, classmethod | staticmethod):
                    setattr(value, function, type(own)(checked(own.__func__, described, int(isinstance(own, classmethod)))))
                elif described:
                    setattr(value, function, checked(own, described, 1))


def checked(own, described, skipped):
    """Returns an imported function that checks its arguments, but for the first `skipped`."""
    if not described or not described["parameters"]:
        return own
    names = [values.snake(name) for name, _ in described["parameters"]]
    check = CONTRACT.check_of_arguments(described)

    @functools.wraps(own)
    def call(*arguments, **named):
        given = arguments[skipped:]
        check([*given, *(named[name] for name in names[len(given):] if name in named)] if named else given)
        return own(*arguments, **named)

    return call


def guard(label, own, declared, described):
    if isinstance(own, (staticmethod, classmethod)):
        return type(own)(guard(label, own.__func__, declared, described))
    # componentize-py documents the contract's error so.
    fails = "componentize_py_types.Err" in (getattr(declared, "__func__", declared).__doc__ or "")

    check_result, check_error = CONTRACT.checks_of_result(described)

    def raised(error):
        """Lets the contract's error pass. Any other exception ends the call."""
        if fails and type(error) is componentize_py_types.Err:
            try:
                check_error(error.value)
                return
            except Exception as wrong:
                error = wrong.with_traceback(error.__traceback__)
        end(label, error, own)

    def call(*arguments):
        try:
            result = own(*arguments)
            check_result(result)
            return result
        except BaseException as error:
            raised(error)
            raise

    async def call_async(*arguments):
        try:
            result = await own(*arguments)
            check_result(result)
            return result
        except BaseException as error:
            raised(error)
            raise

    return call_async if inspect.iscoroutinefunction(own) else call


def unguarded(kind, error, trace):
    """Tells of an exception that componentize-py met itself."""
    if "PYTHONHOME" in os.environ:
        # At build time.
        sys.__excepthook__(kind, error, trace)
    else:
        end("the component", error)


def end(label, error, own=None):
    """Ends the call with the report of an exception: its words, those of its causes, and the functions that it passed. `own` is the function
    that the exception is about if it passed none.

    The call ends here, because componentize-py would end it with a panic of its own, whose lines say nothing of the module.
    """
    words, place = told(error, own)
    cause = error
    for _ in range(MAX_CAUSES):
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
        if cause is None:
            break
        words += f"; caused by {told(cause)[0]}"
    failure.report(f"{label}: {words}", place)
    for stream in sys.stdout, sys.stderr:
        try:
            stream.flush()
        except Exception:
            # The module may have closed it, or put something else there.
            pass
    os._exit(1)


def told(error, own=None):
    frames = []
    trace = error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        if code.co_filename not in (__file__, values.__file__) and not code.co_filename.startswith("<frozen "):
            frames.append((code.co_qualname, shown(code.co_filename), trace.tb_lineno))
        trace = trace.tb_next
    frames.reverse()
    code = getattr(inspect.unwrap(own), "__code__", None) if own else None
    if code and not frames:
        frames.append((code.co_qualname, shown(code.co_filename), code.co_firstlineno))
    try:
        text = str(error)
    except Exception:
        text = "(its words can't be had)"
    if type(error) is componentize_py_types.Err:
        text = f"the contract's function has no error, and {error.value!r} was raised"
    words = f"{type(error).__name__}: {text}" if text else type(error).__name__
    if frames:
        path = " < ".join(f"{function} ({file}:{line})" for function, file, line in frames[:MAX_FRAMES])
        words += f" at {path}"
    first = next((frame for frame in frames if not frame[1].startswith("/")), None)
    return words, failure.Place(first[1], first[2], 0) if first else None


def shown(file):
    """Returns the path of a file as the author knows it: within the module's folder, or within one of `path`."""
    first, _, rest = file.lstrip("/").partition("/")
    return rest if first.isdecimal() else file


main()
