"""Makes a component of a Python module, or its stubs for editors, or a list of pinned packages, with the tools of this virtual environment.

`watertight build` runs it as `python componentize.py COMMAND JOB`, where JOB is a file of JSON.
"""

import ast
import json
import os
import pathlib
import re
import subprocess
import sys

# The interface by which a component reports why it fails gets a name that no other interface has.
NAMES = ["--import-interface-name", "watertight:lifecycle/failure@1.0.0=watertight_failure"]


def main(command, file):
    with open(file, encoding="utf-8") as text:
        job = json.load(text)
    {"component": component, "stubs": stubs, "pin": pin}[command](job)


def component(job):
    """Makes the component."""
    settings = pathlib.Path(job["settings"])
    settings.mkdir(parents=True, exist_ok=True)
    imported = imported_later([*job["sources"], job["packages"]])
    lines = [f"COMPONENT = {job['component']!r}", f"PRELOAD = {job['preload']!r}", f"IMPORTED_LATER = {imported!r}"]
    lines.append(f"CONTRACT = {job['contract']!r}")
    (settings / "watertight_settings.py").write_text("\n".join(lines) + "\n", encoding="utf-8")
    arguments = ["-d", job["wit"], "-w", job["world"], *NAMES, "componentize", job["app"], "-o", job["output"]]
    # The module's own code comes first, so that its files are `/0/…` in the component.
    for folder in [*job["sources"], job["packages"], str(settings), job["glue"]]:
        arguments += ["-p", folder]
    # Otherwise componentize-py would add the packages that the user has installed.
    environment = pathlib.Path(job["output"]).with_suffix(".environment")
    (environment / "lib" / "site-packages").mkdir(parents=True, exist_ok=True)
    os.environ["VIRTUAL_ENV"] = str(environment)
    run(arguments, job)


def stubs(job):
    """Writes stubs of the world's interfaces, for editors and type checkers."""
    run(["-q", "-d", job["wit"], "-w", job["world"], *NAMES, "bindings", job["output"]], job)


def run(arguments, job):
    os.environ["RUST_BACKTRACE"] = "0"
    import componentize_py

    sys.argv = ["componentize-py", *arguments]
    try:
        componentize_py.script()
    except SystemExit:
        raise
    except BaseException as error:
        sys.exit(told(str(error), job.get("names", [])))


def told(text, names):
    """Returns an error of componentize-py without the program's own stack, and with the author's paths."""
    text = re.split(r"\n\n(?:Caused by|Stack backtrace):", text)[0].strip()
    refused = re.search(r"^(?:\w+\.)?_Refused: ", text, re.MULTILINE)
    if refused:
        return text[refused.end():]

    def path(found):
        index = int(found[1])
        return os.path.normpath(names[index] + found[2]) if index < len(names) else found[0]

    kept, is_skipped = [], False
    for line in text.splitlines():
        if not line.startswith("    "):
            # Frames of the code around the module, and of Python's import system.
            is_skipped = re.match(r'  File "(<frozen importlib|/\d+/watertight_component\.py|/python/(?:.*/)?importlib/)', line)
        if not is_skipped:
            kept.append(re.sub(r"/(\d+)(/[^\s\"']*\.py)", path, line))
    return "\n".join(kept)


def imported_later(folders):
    """Returns what the functions of each Python module import when they run: for the module's name, a list of names."""
    found = {}
    for folder in folders:
        root = pathlib.Path(folder)
        for file in sorted(root.rglob("*.py")):
            parts = list(file.relative_to(root).with_suffix("").parts)
            is_package = parts[-1] == "__init__"
            if is_package:
                parts.pop()
            try:
                tree = ast.parse(file.read_bytes())
            except SyntaxError:
                # Python itself tells of it with the line, if the file is used.
                continue
            package = parts if is_package else parts[:-1]
            names = sorted(set(later(tree, package)))
            if names and parts:
                found.setdefault(".".join(parts), names)
    return found


def later(tree, package):
    for function in ast.walk(tree):
        if not isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            continue
        for node in ast.walk(function):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                base = package[: len(package) - node.level + 1] if node.level else []
                name = ".".join([*base, *([node.module] if node.module else [])])
                yield name
                yield from (f"{name}.{alias.name}" for alias in node.names)


def pin(job):
    """Writes `requirements.txt`: the packages that the module needs, directly or not, each with its version and digests."""
    pip = [sys.executable, "-m", "pip", *job["pip"], "--dry-run", "--ignore-installed", "--report", "-", *job["dependencies"]]
    done = subprocess.run(pip, stdout=subprocess.PIPE, check=False)
    if done.returncode:
        sys.exit(done.returncode)
    lines = ["# The packages of this module, pinned by `watertight build`. Remove this file to have them chosen again."]
    for package in json.loads(done.stdout)["install"]:
        name, version = package["metadata"]["name"], package["metadata"]["version"]
        lines.append(f"{name}=={version} --hash=sha256:{package['download_info']['archive_info']['hashes']['sha256']}")
    pathlib.Path(job["output"]).write_text("\n".join(lines) + "\n", encoding="utf-8")


main(*sys.argv[1:])
