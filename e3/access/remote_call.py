"""A verb of `e3.remote` as a command line and what to send to its standard input.

A host needs only a Python: the modules travel with the call. No part of the request is in the
command line, which any user of the host can read.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from e3.access.environment import ENVIRONMENT

PATH = f"{ENVIRONMENT['PATH']}:/run/wrappers/bin:/run/current-system/sw/bin"
"""The folders of programs, including those of NixOS."""

MODULES: Mapping[str, tuple[str, ...]] = {
    "command": (
        "e3.remote.linux",
        "e3.remote.processes",
        "e3.remote.framing",
        "e3.remote.command",
    ),
    "files": ("e3.remote.framing", "e3.remote.files"),
    "facts": ("e3.remote.framing", "e3.remote.facts"),
    "services": (
        "e3.remote.linux",
        "e3.remote.processes",
        "e3.remote.framing",
        "e3.remote.supervisor",
        "e3.remote.systemd",
        "e3.remote.services",
    ),
}
"""What each part of `e3.remote` needs, in the order in which they are loaded."""

BOOTSTRAP = (
    "import os,sys;"
    'r=lambda n:(lambda b:b+r(n-len(b)) if b else sys.exit(1))(os.read(0,n)) if n else b"";'
    "exec(r(int(sys.argv[1])))"
)
LOADER = """
import sys, types
def load(modules, main, verb, request):
    for name, source in modules:
        parts = name.split(".")
        for i in range(1, len(parts)):
            package = types.ModuleType(".".join(parts[:i]))
            package.__path__ = []
            sys.modules.setdefault(package.__name__, package)
        module = sys.modules[name] = types.ModuleType(name)
        setattr(sys.modules[".".join(parts[:-1])], parts[-1], module)
        exec(compile(source, name, "exec"), module.__dict__)
    getattr(sys.modules[main], verb)(request)
"""


@dataclass(frozen=True, kw_only=True)
class Call:
    """The command for a login shell, and what the command first reads from its standard input."""

    command: str
    stdin: bytes


def call(
    part: str,
    verb: str,
    request: Mapping[str, Any],
    *,
    python: str = "python3",
    sudo: bool = False,
) -> Call:
    """Return the call of ``verb`` of the module ``part`` with a request of plain values."""
    modules = [(name, _source(name)) for name in MODULES[part]]
    arguments = (modules, MODULES[part][-1], verb, dict(request))
    stdin = f"{LOADER}\nload{arguments!r}\n".encode()
    # names are UTF-8 or kept as bytes, whatever the locale there
    argv = [python, "-I", "-S", "-X", "utf8", "-c", BOOTSTRAP, str(len(stdin)), f"e3-{verb}"]
    return Call(command=command_line(argv, sudo=sudo), stdin=stdin)


def command_line(argv: list[str], *, sudo: bool) -> str:
    """Return the line that runs ``argv`` in any login shell, as root if ``sudo`` is asked for."""
    rights = ["sudo", "-n", "--"] if sudo else []
    # env sets PATH whatever the shell's own is; the command then gets a new environment
    return "exec env " + " ".join(map(quote, [f"PATH={PATH}", *rights, *argv]))


def quote(word: str) -> str:
    r"""Return ``word`` quoted for a shell, also for fish, which reads ``\`` in single quotes."""
    if word and all(c.isalnum() or c in "_-./:=@%+," for c in word) and word.isascii():
        return word
    special = {"'": r"'\''", "\\": r"'\\'"}
    return "'" + "".join(special.get(c, c) for c in word) + "'"


def _source(name: str) -> str:
    package, _, module = name.rpartition(".")
    return (files(package) / f"{module}.py").read_text()
