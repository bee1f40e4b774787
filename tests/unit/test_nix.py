"""Real builds by the Nix of this machine, in a store of the tests' own."""

import asyncio
import os
import shlex
import shutil
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from e3.errors import BuildError, ConfigurationError, PlatformError
from e3.nix import Build, Flake, release
from tests import nix
from tests.stack import processes_below, until

pytestmark = nix.NEEDED

HELLO = "echo working hard\necho hello > $out"


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[nix.Source]:
    for name, value in nix.settings(tmp_path / "nix").items():
        monkeypatch.setenv(name, value)
    yield nix.Source(tmp_path / "flake")
    nix.remove(tmp_path)


def build_of(
    source: nix.Source, name: str, *, system: str = nix.SYSTEM, builder: str = ""
) -> Build:
    return Build(
        flake=Flake(folder=source.folder),
        output=source.output(name, system),
        folder=source.folder.parent / "roots" / name,
        builder=builder,
    )


def git(folder: Path, *arguments: str) -> None:
    subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, check=True)


def test_an_output_is_built_once_known_by_its_contents_and_kept(source: nix.Source) -> None:
    source.write({"hello": HELLO})
    build, said = build_of(source, "hello"), list[str]()
    built = asyncio.run(build.run(said.append))
    assert Path(built.path).read_text() == "hello\n"
    assert built.closure_bytes == 120  # a NAR of one small file (Nix manual, "Nix Archive")
    assert built.nar_hash.startswith("sha256-")
    assert [line.split("/")[0] for line in said] == ["building '"]
    assert "working hard\n" in (build.folder / "build.log").read_text()

    assert asyncio.run(build.run(said.append)) == built
    assert len(said) == 1, "what is there is not built again"
    assert "working hard" not in (build.folder / "build.log").read_text()

    collect = ["nix-store", "--gc"]
    subprocess.run(collect, capture_output=True, check=True)
    assert Path(built.path).exists(), "it is rooted"
    (build.folder / "notes").write_text("not ours")
    release(build.folder)
    subprocess.run(collect, capture_output=True, check=True)
    assert not Path(built.path).exists()
    assert sorted(path.name for path in build.folder.iterdir()) == ["build.log", "notes"]


def test_a_failure_names_the_last_lines_and_the_command_to_repeat(source: nix.Source) -> None:
    source.write({"bad": "for i in $(seq 99); do echo line $i; done; exit 3"})
    build = build_of(source, "bad")
    with pytest.raises(BuildError) as caught:
        asyncio.run(build.run(lambda _: None))
    first, _, *lines = str(caught.value).splitlines()
    assert first.startswith(f"{build.output} cannot be built")
    assert len(lines) == 30
    assert "line 99" in lines
    assert "failed with exit code 3" in lines[-1]
    command = shlex.split(first.partition("type:  ")[2])
    again = subprocess.run(command, capture_output=True, text=True, check=False)
    assert again.returncode
    assert "line 1\n" in again.stderr, "all of it"
    assert not build.link.exists()


def test_another_kind_of_machine_needs_a_builder(source: nix.Source) -> None:
    source.write({"pi": HELLO}, foreign="pi")
    with pytest.raises(BuildError, match=r"name a builder of that kind, such as 'ssh-ng://"):
        asyncio.run(build_of(source, "pi", system=nix.FOREIGN).run(lambda _: None))


def test_a_remote_builder_is_asked_for_what_it_alone_can_build(source: nix.Source) -> None:
    """Nix reaches a builder called localhost without SSH (libstore/ssh.cc, ``fakeSSH``)."""
    namespaces = ["unshare", "--map-root-user", "--mount", "true"]
    if subprocess.run(namespaces, capture_output=True, check=False).returncode:
        pytest.skip("no permission for the namespaces of a second store")
    source.write({"pi": "uname -m\necho hello > $out"}, foreign="pi")
    machine = source.folder.parent / "machine"
    stand_in = source.folder.parent / "bin" / "nix-store"
    stand_in.parent.mkdir()
    stand_in.write_text(
        textwrap.dedent(
            f"""\
            #!/bin/sh
            # the other machine: the same Nix with a store of its own, and of another kind
            echo "$@" >> {machine}.log
            unset NIX_STATE_DIR NIX_LOG_DIR
            export NIX_CONFIG="extra-platforms = {nix.FOREIGN}
            sandbox-paths = /bin /usr /lib /lib64
            build-users-group ="
            exec {shutil.which("nix-store")} --store "local?root={machine}" "$@"
            """
        )
    )
    stand_in.chmod(0o755)
    there = f"ssh://localhost?remote-program={stand_in} {nix.FOREIGN} - 1"
    built = asyncio.run(
        build_of(source, "pi", system=nix.FOREIGN, builder=there).run(lambda _: None)
    )
    assert Path(built.path).read_text() == "hello\n"
    assert "--serve" in Path(f"{machine}.log").read_text()


def test_a_cancelled_build_leaves_nothing_running(source: nix.Source) -> None:
    mark = source.folder.parent / "started"
    source.write({"slow": f"touch {mark}; sleep 600 & sleep 600; echo > $out"})

    async def cancelled() -> None:
        task = asyncio.create_task(build_of(source, "slow").run(lambda _: None))
        await asyncio.to_thread(until, mark.exists, "the build has not begun")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancelled())
    until(lambda: not processes_below(source.folder.parent), "something goes on", 10)


def test_a_build_that_takes_too_long_is_ended(source: nix.Source) -> None:
    source.write({"slow": "sleep 600 & sleep 600"})
    build = replace(build_of(source, "slow"), limit_seconds=1)
    with pytest.raises(BuildError, match=r"is not built after 1 s; to see all of it, type:  nix"):
        asyncio.run(build.run(lambda _: None))
    until(lambda: not processes_below(source.folder.parent), "something goes on", 10)


def test_a_killed_process_takes_its_build_along(source: nix.Source) -> None:
    mark = source.folder.parent / "started"
    source.write({"slow": f"touch {mark}; sleep 600 & sleep 600; echo > $out"})
    build = build_of(source, "slow")
    code = textwrap.dedent(
        f"""
        import asyncio
        from pathlib import Path
        from e3.nix import Build, Flake
        build = Build(
            flake=Flake(folder=Path({str(source.folder)!r})),
            output={build.output!r},
            folder=Path({str(build.folder)!r}),
        )
        asyncio.run(build.run(print))
        """
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.DEVNULL) as process:
        until(mark.exists, "the build has not begun")
        process.send_signal(signal.SIGKILL)
    until(lambda: not processes_below(source.folder.parent), "something goes on", 10)


def test_without_nix_it_says_what_to_install(
    source: nix.Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    source.write({"hello": HELLO})
    monkeypatch.setenv("PATH", str(source.folder))
    monkeypatch.setenv("HOME", str(source.folder))
    monkeypatch.setattr("e3.nix.INSTALLED", ())
    with pytest.raises(PlatformError, match=r"install Nix .* from https://nixos\.org/download"):
        asyncio.run(build_of(source, "hello").run(lambda _: None))


def test_an_input_that_is_not_locked_is_refused(source: nix.Source) -> None:
    source.write({"hello": HELLO})
    other = nix.Source(source.folder.parent / "other")
    other.write({"hello": HELLO})
    flake = source.folder / "flake.nix"
    flake.write_text(
        flake.read_text().replace("{ out", f'{{ inputs.o.url = "{other.folder}"; out', 1)
    )
    with pytest.raises(BuildError, match="lock file changes"):
        asyncio.run(build_of(source, "hello").run(lambda _: None))
    assert not (source.folder / "flake.lock").exists(), "nothing is written into the sources"


@pytest.mark.parametrize(
    ("change", "changes"),
    [
        (lambda f: (f / "hello.sh").write_text("echo other > $out"), True),
        (lambda f: (f / "flake.lock").write_text("{}"), True),
        (lambda f: (f / "hello.sh").chmod(0o755), True),
        (lambda f: (f / "hello.sh").rename(f / "moved.sh"), True),
        (lambda f: os.utime(f / "hello.sh", (1, 1)), False),
    ],
)
def test_the_digest_is_that_of_what_nix_sees(
    source: nix.Source, change: Callable[[Path], object], *, changes: bool
) -> None:
    source.write({"hello": HELLO})
    flake = Flake(folder=source.folder)
    before = flake.digest()
    change(source.folder)
    assert (flake.digest() != before) is changes


def test_in_a_git_checkout_only_what_is_added_counts(source: nix.Source) -> None:
    source.write({"hello": HELLO})
    (source.folder / ".e3").mkdir()
    (source.folder / ".e3/passphrase").write_text("canary")
    flake = Flake(folder=source.folder)
    with pytest.raises(ConfigurationError, match=r"type `git init && git add \.`"):
        flake.digest()

    git(source.folder, "init", "--quiet")
    (source.folder / ".gitignore").write_text(".e3\n")
    git(source.folder, "add", ".")
    before = flake.digest()
    (source.folder / "notes").write_text("mine")
    (source.folder / ".e3/passphrase").write_text("another canary")
    assert flake.digest() == before
    built = asyncio.run(build_of(source, "hello").run(lambda _: None))
    store = Path(built.path).parent
    assert not list(store.rglob("passphrase")), "secrets are not copied along"
    assert list(store.rglob("hello.sh"))

    (source.folder / "hello.sh").write_text("echo changed > $out")
    assert flake.digest() != before
    chosen = Flake(folder=source.folder, sources=["flake.nix"])
    assert chosen.digest() == Flake(folder=source.folder, sources=["flake.lock"]).digest()


def test_a_folder_without_a_flake_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"there is no flake\.nix; name a folder"):
        Flake(folder=tmp_path).digest()


def test_a_folder_that_nix_would_misread_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "a flake"
    folder.mkdir()
    (folder / "flake.nix").write_text("{}")
    with pytest.raises(ConfigurationError, match="move it"):
        Flake(folder=folder).digest()
