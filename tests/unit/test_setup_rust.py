"""How scripts/setup builds a program written in Rust: with stand-ins for cargo and rustc."""

import os
import subprocess
import textwrap
import tomllib
from pathlib import Path

import pytest

from installer.programs import Go, Tool, recipe
from installer.rust import with_index
from installer.steps import ROOT, SetupError, take
from tests.unit.test_setup import script

SOURCE = {
    "Cargo.toml": '[package]\nname = "hello"\nversion = "1.0.0"\nrust-version = "1.91"\n',
    "Cargo.lock": """\
        version = 4

        [[package]]
        name = "hello"
        version = "1.0.0"
        dependencies = ["itoa"]

        [[package]]
        name = "itoa"
        version = "1.0.15"
        checksum = "4a5f13b858c8d314ee3e8f639011f7ccefe71f97f96e50151fb991f267928e2c"
    """,
    "recipe.toml": 'programs = ["hello"]\nusually = "1 s"\n',
}
CARGO = """\
#!/bin/sh
# Names its index in a lock, and builds a program that prints the lock which it was given.
case $1 in
    generate-lockfile)
        grep -q '^itoa = "=1.0.15"$' Cargo.toml || exit 1
        printf '[[package]]\\nname = "itoa"\\nsource = "registry+of-here"\\n' > Cargo.lock ;;
    tree) printf 'hello v1.0.0 (/x)\\nitoa v1.0.15\\n' ;;
    build)
        while [ "$1" != --target-dir ]; do shift; done
        echo '   Compiling itoa v1.0.15'
        mkdir -p "$2/release"
        { echo '#!/bin/sh'; echo "cat <<'END'"; cat Cargo.lock; echo END; } > "$2/release/hello"
        chmod +x "$2/release/hello" ;;
esac
"""


def hello(folder: Path, version: str | None) -> Tool:
    """Write the sources of a tool; return its step, with a Rust of that version or with none."""
    source = folder / "hello"
    source.mkdir()
    for name, text in SOURCE.items():
        (source / name).write_text(textwrap.dedent(text))
    if version is not None:
        script(folder / "rust/cargo", CARGO)
        script(folder / "rust/rustc", f"#!/bin/sh\necho 'rustc {version} (abc 2026-01-01)'\n")
    path = os.pathsep.join([str(folder / "rust"), "/usr/bin", "/bin"])
    go = Go(folder / "no lock", folder / "tools", path)
    return Tool(source, go, folder / "tools", path)


def test_the_lock_gets_the_index_of_this_machine_and_is_else_the_same(tmp_path: Path) -> None:
    tool = hello(tmp_path, "1.91.0")
    take([tool], tool.tools)
    assert tool.done()
    program = tool.tools / "bin/hello"
    said = subprocess.run([program], capture_output=True, text=True, check=True).stdout
    own, itoa = tomllib.loads(said)["package"]
    assert "source" not in own
    assert itoa.pop("source") == "registry+of-here"
    before = tomllib.loads((tool.source / "Cargo.lock").read_text())["package"]
    assert [own, itoa] == before
    assert list((tool.tools / "aside").iterdir()) == []

    (tool.source / "Cargo.lock").write_text(said)
    assert not tool.done()


@pytest.mark.parametrize(
    ("version", "found"), [(None, "none is on PATH"), ("1.63.0", "rust/rustc is 1.63.0")]
)
def test_without_a_new_enough_rust_it_says_what_to_do(
    tmp_path: Path, version: str | None, found: str
) -> None:
    tool = hello(tmp_path, version)
    said = rf"Rust 1\.91 or newer, and .*{found}.*\n.*scripts/setup hello"
    with pytest.raises(SetupError, match=said):
        take([tool], tool.tools)
    assert not tool.done()


@pytest.mark.parametrize("name", ["iroh"])
def test_a_lock_of_ours_pins_every_crate_and_names_no_index(name: str) -> None:
    text = (ROOT / "tools" / name / "Cargo.lock").read_text()
    assert "source =" not in text
    crates = tomllib.loads(text)["package"]
    assert [it["name"] for it in crates if "checksum" not in it] == [f"e3-{name}"]
    whole = tomllib.loads(with_index(text, "x"))["package"]
    assert sum("source" in it for it in whole) == len(crates) - 1
    assert recipe(ROOT / "tools" / name).only_if_asked
