"""The pieces of scripts/setup, each on real files, real processes and a real Go build."""

import hashlib
import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import textwrap
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from installer import needs
from installer.backend import Backend
from installer.environment import Environment, Extra
from installer.needs import overlay
from installer.packages import Packages
from installer.plugins import PINS, Plugin
from installer.programs import Go, Tool, recipe
from installer.steps import ROOT, SetupError, take

MODULE = {
    "go.mod": "module e3/tools/hello\n\ngo 1.24\n\ntool e3/tools/hello\n",
    "go.sum": "",
    "main.go": 'package main\n\nfunc main() { print("hello 1.2.3") }\n',
    "recipe.toml": """
        programs = ["hello"]
        usually = "1 s"
        version = ["hello", "--version"]
        minimum = "1.2"
    """,
}

STAND_IN_GO = """\
#!/bin/sh
# Builds a program that says hello; each build adds a line to the log beside this file.
if [ "$1" = env ]; then echo go1.99; exit; fi
if [ "$1" = list ]; then echo hello; exit; fi
echo build >> "$(dirname "$0")/log"
while [ "$1" != -o ]; do shift; done
printf '#!/bin/sh\\n' > "$2/hello"
sleep "$(cat "$(dirname "$0")/seconds")"
echo 'echo hello >&2' >> "$2/hello"
chmod +x "$2/hello"
"""


def script(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


def write_module(folder: Path, **changed: str) -> Path:
    """Write the sources of a tool, with another recipe if one is given; return their folder."""
    source = folder / "hello"
    source.mkdir(exist_ok=True)
    texts = {**MODULE, **{f"{name}.toml": text for name, text in changed.items()}}
    for name, text in texts.items():
        if not (source / name).exists():
            (source / name).write_text(textwrap.dedent(text))
    return source


def hello(folder: Path, *, path: str = os.environ["PATH"], tools: Path | None = None) -> Tool:
    """Write the sources of a tool and return the step that makes it."""
    source = write_module(folder)
    # On a machine without Go, the one that set-up has brought.
    go = Go(ROOT / "tools/go/requirements.txt", ROOT / ".tools", path)
    return Tool(source, go, tools or folder / "tools", path)


def said(tool: Tool) -> str:
    program = tool.tools / "bin" / "hello"
    return subprocess.run([program], capture_output=True, text=True, check=True).stderr.strip()


def stand_in_go(folder: Path, *, seconds: float) -> str:
    """Return a PATH with a Go whose builds take that long."""
    script(folder / "go/go", STAND_IN_GO)
    (folder / "go/seconds").write_text(str(seconds))
    return f"{folder / 'go'}:{os.environ['PATH']}"


def take_elsewhere(folder: Path, path: str) -> subprocess.Popen[str]:
    """Take the step in another process, as a second set-up would."""
    code = textwrap.dedent(
        """
        import sys
        from pathlib import Path
        from installer.programs import Go, Tool
        from installer.steps import SetupError, take
        folder, path = Path(sys.argv[1]), sys.argv[2]
        tools = folder / "tools"
        try:
            take([Tool(folder / "hello", Go(folder / "lock", tools, path), tools, path)], tools)
        except SetupError as error:
            sys.exit(str(error))
        """
    )
    return subprocess.Popen(
        [sys.executable, "-c", code, str(folder), path],
        env={**os.environ, "PYTHONPATH": str(ROOT / "scripts")},
        stderr=subprocess.PIPE,
        text=True,
    )


def private_bits(path: Path) -> int:
    """Return what others than the owner may do."""
    return stat.S_IMODE(path.stat().st_mode) & 0o077


def wait_for(fact: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not fact():
        assert time.monotonic() < deadline
        time.sleep(0.01)


class TestTool:
    def test_is_built_once_and_again_when_its_pins_change(self, tmp_path: Path) -> None:
        tool = hello(tmp_path)
        assert not tool.done()
        take([tool], tool.tools)
        assert tool.done()
        assert said(tool) == "hello 1.2.3"

        first = (tool.tools / "bin/hello").stat().st_mtime_ns
        take([tool], tool.tools)
        assert (tool.tools / "bin/hello").stat().st_mtime_ns == first

        (tool.source / "go.sum").write_text("\n")
        assert not tool.done()
        take([tool], tool.tools)
        assert (tool.tools / "bin/hello").stat().st_mtime_ns > first

    def test_that_does_not_build_says_why_and_keeps_the_one_before(self, tmp_path: Path) -> None:
        tool = hello(tmp_path)
        take([tool], tool.tools)
        (tool.source / "main.go").write_text("package main\n\nfunc main() { missing() }\n")
        (tool.source / "go.sum").write_text("\n")
        with pytest.raises(SetupError, match=r"(?s)undefined: missing.*type scripts/setup again"):
            take([tool], tool.tools)
        assert said(tool) == "hello 1.2.3"
        assert not tool.done()

    @pytest.mark.parametrize(("version", "taken"), [("v1.10.0", True), ("1.1.9", False)])
    def test_on_path_is_taken_if_new_enough(
        self, tmp_path: Path, version: str, *, taken: bool
    ) -> None:
        theirs = script(tmp_path / "theirs/hello", f"#!/bin/sh\necho hello {version}\n")
        tool = hello(tmp_path, path=f"{theirs.parent}:{os.environ['PATH']}")
        take([tool], tool.tools)
        assert ((tool.tools / "bin/hello").resolve() == theirs) is taken
        assert tool.done()

    def test_on_path_that_went_away_is_built(self, tmp_path: Path) -> None:
        theirs = script(tmp_path / "theirs/hello", "#!/bin/sh\necho 1.2\n")
        tool = hello(tmp_path, path=f"{theirs.parent}:{os.environ['PATH']}")
        take([tool], tool.tools)
        theirs.unlink()
        assert not tool.done()
        take([tool], tool.tools)
        assert said(tool) == "hello 1.2.3"

    @pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
    def test_interrupted_leaves_nothing_half_made(
        self, tmp_path: Path, how: signal.Signals
    ) -> None:
        tool = hello(tmp_path)
        process = take_elsewhere(tmp_path, stand_in_go(tmp_path, seconds=8))
        wait_for(lambda: any((tool.tools / "aside").glob("*/hello")))
        process.send_signal(how)
        process.communicate()
        assert not (tool.tools / "bin/hello").exists()
        assert not tool.done()

        take([tool], tool.tools)
        assert said(tool) == "hello 1.2.3"
        assert list((tool.tools / "aside").iterdir()) == []

    def test_is_built_once_by_two_at_once(self, tmp_path: Path) -> None:
        tool = hello(tmp_path)
        path = stand_in_go(tmp_path, seconds=0.5)
        both = [take_elsewhere(tmp_path, path) for _ in range(2)]
        told = "".join(process.communicate()[1] for process in both)
        assert [process.returncode for process in both] == [0, 0]
        assert "another set-up is at work in this folder; waiting for it" in told
        assert (tmp_path / "go/log").read_text() == "build\n"
        assert said(tool) == "hello"

    def test_with_a_full_disk_says_so_and_leaves_nothing(self, tmp_path: Path) -> None:
        tool = hello(tmp_path)
        # Whole if it fits; the program has 1.5 MB, the disk 1 MB.
        inside = textwrap.dedent(
            f"""
            set -e
            mkdir -p {tool.tools}
            mount -t tmpfs -o size=1m none {tool.tools}
            cd {ROOT / "scripts"}
            {sys.executable} - <<'END' || echo "exit $?"
            import sys
            from pathlib import Path
            from installer.programs import Go, Tool
            from installer.steps import ROOT, SetupError, take
            source, tools = Path({str(tool.source)!r}), Path({str(tool.tools)!r})
            path = {tool.path!r}
            go = Go(ROOT / "tools/go/requirements.txt", ROOT / ".tools", path)
            try:
                take([Tool(source, go, tools, path)], tools)
            except SetupError as error:
                sys.exit(str(error))
            END
            find {tool.tools} -type f
            """
        )
        namespace = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"])]
        if subprocess.run([*namespace, "true"], capture_output=True, check=False).returncode:
            pytest.skip("no permission for a mount namespace")
        done = subprocess.run(
            [*namespace, "sh", "-c", inside], capture_output=True, text=True, check=True
        )
        assert "the disk is full. " in done.stderr
        assert "Make room." in done.stderr
        assert done.stdout.splitlines() == ["exit 1", f"{tool.tools}/lock"]


class TestPackages:
    def test_are_named_with_what_to_type_if_not_root(self, tmp_path: Path) -> None:
        script(tmp_path / "apt-get", "#!/bin/sh\nexit 1\n")
        step = Packages(["nftables", "tor"], tmp_path, path=str(tmp_path), root=False)
        assert not step.done()
        with pytest.raises(SetupError, match=r"sudo apt-get install .* nftables tor\n"):
            step.do()

    def test_are_named_with_their_programs_without_apt(self, tmp_path: Path) -> None:
        step = Packages(["nftables", "tor"], tmp_path, path=str(tmp_path), root=True)
        with pytest.raises(SetupError, match=r"nft \(nftables\), tor \(tor\)"):
            step.do()

    def test_are_installed_with_new_lists_if_need_be_and_no_service(self, tmp_path: Path) -> None:
        """The stand-in for apt-get knows no package before an update, as on a fresh machine."""
        log = tmp_path / "log"
        apt = f"""\
            #!/bin/sh
            echo "$1" >> {log}
            case "$1 $*" in
                update*) touch {tmp_path}/lists ;;
                *"DPkg::Path="*)
                    [ -e {tmp_path}/lists ] || {{ echo "unable to locate nftables"; exit 100; }}
                    path=${{4##*=}}
                    PATH=${{path%%:*}} invoke-rc.d nftables start && echo quiet >> {log}
                    printf '#!/bin/sh\\n' > {tmp_path}/nft && chmod +x {tmp_path}/nft ;;
            esac
        """
        script(tmp_path / "apt-get", textwrap.dedent(apt))
        step = Packages(["nftables"], tmp_path / "tools", path=str(tmp_path), root=True)
        take([step], tmp_path / "tools")
        assert step.done()
        assert log.read_text().split() == ["install", "update", "install", "quiet"]


def wheel(folder: Path, name: str, version: str) -> Path:
    """Make a package with nothing in it."""
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}-{version}-py3-none-any.whl"
    info = f"{name}-{version}.dist-info"
    files = {
        f"{name}.py": "",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    files[f"{info}/RECORD"] = "".join(f"{each},,\n" for each in [*files, f"{info}/RECORD"])
    with zipfile.ZipFile(path, "w") as archive:
        for each, text in files.items():
            archive.writestr(each, text)
    return path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """Make an environment, which takes seconds; each test leaves it whole."""
    folder = tmp_path_factory.mktemp("environment")
    lock, link, tools = folder / "lock.txt", folder / ".venv", folder / "tools"
    lock.write_text("")
    link.mkdir()  # made by hand, or by an older set-up
    environment = Environment(lock, link, tools)
    take([environment], tools)
    assert environment.done()
    return environment


class TestEnvironment:
    def test_is_replaced_as_a_whole_or_not_at_all(self, made: Environment) -> None:
        lock, link, tools = made.lock, made.link, made.tools
        whole = link.resolve()
        lock.write_text("./missing.whl --hash=sha256:00\n")
        assert not made.done()
        with pytest.raises(SetupError, match=r"missing\.whl"):
            take([made], tools)
        assert link.resolve() == whole
        assert (link / "bin/python").exists()
        assert list(tools.glob("venv-*")) == [whole]
        lock.write_text("")
        assert made.done()

    def test_made_under_another_umask_is_opened_to_parties(self, made: Environment) -> None:
        environment, link, tools = made, made.link, made.tools
        whole = link.resolve()
        before = whole.stat().st_ino
        modes = {path: path.stat().st_mode for path in whole.rglob("*")}
        for path in (whole, *whole.rglob("*")):
            if not path.is_symlink():
                path.chmod(stat.S_IMODE(path.stat().st_mode) & ~0o077)
        assert not environment.done()
        take([environment], tools)
        assert environment.done()
        assert whole.stat().st_ino == before
        assert {path: path.stat().st_mode for path in whole.rglob("*")} == modes

    @pytest.mark.long
    def test_packages_that_drifted_are_named_and_repaired(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        lock, link, tools = tmp_path / "lock.txt", tmp_path / ".venv", tmp_path / "tools"
        wheels = {v: wheel(tmp_path / "wheels", "sample", v) for v in ("1.0", "0.9")}
        digest = hashlib.sha256(wheels["1.0"].read_bytes()).hexdigest()
        lock.write_text(
            f"--no-index --find-links {tmp_path / 'wheels'}\nsample==1.0 \\\n"
            f"    --hash=sha256:{digest}\n"
        )
        environment = Environment(lock, link, tools)
        take([environment], tools)
        whole = link.resolve()
        pip = ["-m", "pip", "install", "--quiet", "--no-index"]
        subprocess.run([link / "bin/python", *pip, wheels["0.9"]], check=True)
        assert not environment.done()
        take([environment], tools)
        assert environment.done()
        assert link.resolve() == whole
        assert "set-up: .venv, where sample is 0.9 (locked: 1.0)" in capsys.readouterr().err

        # without a pip that works all of it is made anew
        shutil.rmtree(next(link.glob("lib/python*/site-packages/pip")))
        shutil.rmtree(next(link.glob("lib/python*/site-packages/sample-1.0.dist-info")))
        assert not environment.done()
        take([environment], tools)
        assert environment.done()
        assert "sample is missing (locked: 1.0)" in capsys.readouterr().err

    @pytest.mark.long
    def test_whose_folder_went_away_is_made_again(self, made: Environment) -> None:
        shutil.rmtree(made.tools)
        assert not made.done()
        take([made], made.tools)
        assert (made.link / "bin/python").exists()


class TestBackend:
    def test_has_a_passphrase_that_is_private_and_stays(self, tmp_path: Path) -> None:
        backend = Backend(tmp_path)
        take([backend], tmp_path / ".tools")
        passphrase = tmp_path / ".e3/passphrase"
        first = passphrase.read_text()
        assert len(first) > 40
        assert stat.S_IMODE(passphrase.stat().st_mode) == 0o600

        (tmp_path / ".e3/state").rmdir()
        assert not backend.done()
        take([backend], tmp_path / ".tools")
        assert passphrase.read_text() == first

    def test_closes_what_an_older_one_left_open(self, tmp_path: Path) -> None:
        backend = Backend(tmp_path)
        take([backend], tmp_path / ".tools")
        log = tmp_path / ".e3/dev/sessions/20260101-000000-abcd/ams3-0.log"
        log.parent.mkdir(parents=True)
        log.write_text("x")
        for path in (log, *list(log.parents)[:4]):
            path.chmod(0o755)
        assert not backend.done()
        take([backend], tmp_path / ".tools")
        assert backend.done()
        assert {private_bits(path) for path in (tmp_path / ".e3").rglob("*")} == {0}
        assert private_bits(tmp_path / ".e3") == 0

    @pytest.mark.parametrize("umask", [0o000, 0o022, 0o027, 0o077, 0o777])
    def test_has_the_same_modes_whatever_the_umask(self, tmp_path: Path, umask: int) -> None:
        code = (
            "import os, sys; os.umask(int(sys.argv[2])); from pathlib import Path; "
            "from installer.backend import Backend; Backend(Path(sys.argv[1])).do()"
        )
        subprocess.run(
            [sys.executable, "-c", code, str(tmp_path), str(umask)],
            env={**os.environ, "PYTHONPATH": str(ROOT / "scripts")},
            check=True,
        )
        modes = {
            path.name: stat.S_IMODE(path.stat().st_mode)
            for path in (tmp_path / ".e3", *(tmp_path / ".e3").iterdir())
        }
        assert modes == {".e3": 0o700, "state": 0o700, "passphrase": 0o600}


class TestNeeds:
    @pytest.mark.parametrize(
        ("configuration", "name"),
        [("config:\n  e3:overlay: plain\n", "plain"), ("encryptionsalt: x\n", "nebula")],
    )
    def test_follow_the_overlay_of_the_stack(
        self, tmp_path: Path, configuration: str, name: str
    ) -> None:
        stack = tmp_path / "Pulumi.x.yaml"
        assert overlay(stack) == "nebula"
        stack.write_text(configuration)
        assert overlay(stack) == name

    def test_follow_the_cloud_of_the_stack(self, tmp_path: Path) -> None:
        stack = tmp_path / "Pulumi.x.yaml"
        assert needs.plugins(needs.configuration(stack)) == set()
        stack.write_text("config:\n  e3:fleet: digitalocean\n  e3:overlay: tailscale\n")
        wanted = {"command", "digitalocean", "tailscale"}
        assert needs.plugins(needs.configuration(stack)) == wanted
        stack.write_text("config: {e3:fleet: digitalocean, e3:overlay: unknown}")
        assert needs.plugins(needs.configuration(stack)) == {"digitalocean"}
        assert re.fullmatch(r"\d+\.\d+\.\d+", needs.version("digitalocean"))

    @pytest.mark.parametrize(
        "pins",
        [
            None,
            "",
            "# {sha}  {archive}\n",
            "{sha}  {archive}.old\n",
            "{sha}  pulumi-resource-digitalocean-v1.2.4-linux-amd64.tar.gz\n",
            "{short}  {archive}\n",
            "{sha}  {archive}\n{other}  {archive}\n",
        ],
    )
    def test_a_plugin_without_a_checksum_is_not_even_fetched(
        self, tmp_path: Path, pins: str | None
    ) -> None:
        plugin = Plugin("digitalocean", "1.2.3", tmp_path, str(tmp_path / "bin"))
        script(tmp_path / ".tools/bin/pulumi", f"#!/bin/sh\ntouch {tmp_path}/fetched\n")
        if pins is not None:
            texts = {"sha": "a" * 64, "other": "b" * 64, "short": "a" * 63}
            (tmp_path / "tools").mkdir()
            (tmp_path / PINS).write_text(pins.format(archive=plugin.archive, **texts))
        with pytest.raises(SetupError, match=r"pulumi-digitalocean/releases/tag/v1\.2\.3, look"):
            plugin.do()
        assert not (tmp_path / "fetched").exists()

    def test_every_pin_is_one_that_sha256sum_would_read(self) -> None:
        lines = (ROOT / PINS).read_text().splitlines()
        pins = [line for line in lines if not line.startswith("#")]
        assert all(re.fullmatch(r"[0-9a-f]{64}  pulumi-resource-\S+\.tar\.gz", pin) for pin in pins)

    def test_a_plugin_on_path_is_enough_and_without_one_it_is_said_where_from(
        self, tmp_path: Path
    ) -> None:
        missing = Plugin("digitalocean", "1.2.3", tmp_path, str(tmp_path / "bin"))
        pulumi = f"#!/bin/sh\necho $* >{tmp_path}/words\necho no such host\nexit 1\n"
        script(tmp_path / ".tools/bin/pulumi", pulumi)
        (tmp_path / "tools").mkdir()
        (tmp_path / PINS).write_text(f"{'a' * 64}  {missing.archive}\n")
        assert not missing.done()
        with pytest.raises(SetupError, match="pulumi plugin install resource digitalocean"):
            missing.do()
        words = "plugin install resource digitalocean v1.2.3 --checksum"
        assert (tmp_path / "words").read_text() == f"{words} {'a' * 64}\n"
        script(tmp_path / "bin/pulumi-resource-digitalocean", "#!/bin/sh\n")
        assert missing.done()

    def test_of_every_overlay_have_pins_and_a_recipe(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        needs.main([])
        tools = json.loads(capsys.readouterr().out)["tools"]
        assert "nebula" in tools
        for tool in [*tools, "pulumi", "pulumi-language-python"]:
            assert (ROOT / "tools" / tool / "go.sum").exists()
            assert recipe(ROOT / "tools" / tool).programs


class TestScripts:
    def test_set_up_without_a_new_python_says_what_to_install(self, tmp_path: Path) -> None:
        setup = script(tmp_path / "scripts/setup", (ROOT / "scripts/setup").read_text())
        # A Python that is too old, as far as the script can tell.
        script(tmp_path / "bin/python3", "#!/bin/sh\nexit 1\n")
        (tmp_path / "bin/dirname").symlink_to(shutil.which("dirname") or "")
        done = subprocess.run(
            ["/bin/sh", setup],
            env={"PATH": str(tmp_path / "bin")},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 1
        assert "Python 3.11 or newer is needed" in done.stderr
        assert "apt-get install python3 python3-venv" in done.stderr

    def test_set_up_takes_the_distributions_python_before_another(self, tmp_path: Path) -> None:
        whole = "import ensurepip, sys; sys.exit(sys.version_info < (3, 11))"
        asked = subprocess.run(["sh", "-c", f"/usr/bin/python3 -c '{whole}'"], check=False)
        if asked.returncode:
            pytest.skip("no Python of a distribution here that is new enough and can make a .venv")
        setup = script(tmp_path / "scripts/setup", (ROOT / "scripts/setup").read_text())
        (tmp_path / "scripts/installer.py").write_text("import sys; print(sys.executable)\n")
        (tmp_path / "bin").mkdir()
        (tmp_path / "bin/python3").symlink_to(sys.executable)
        (tmp_path / "bin/dirname").symlink_to(shutil.which("dirname") or "")
        chosen = {
            path: subprocess.run(
                ["/bin/sh", setup], env={"PATH": path}, capture_output=True, text=True, check=True
            ).stdout.strip()
            for path in (f"{tmp_path}/bin:/usr/bin", f"{tmp_path}/bin")
        }
        assert list(chosen.values()) == ["/usr/bin/python3", f"{tmp_path}/bin/python3"]

    @pytest.mark.parametrize("shell", ["bash", "zsh", "dash"])
    def test_activate_serves_each_shell(self, tmp_path: Path, shell: str) -> None:
        if not shutil.which(shell):
            pytest.skip(f"no {shell} here")
        script(tmp_path / "scripts/activate", (ROOT / "scripts/activate").read_text())
        shutil.copytree(ROOT / "scripts/bin", tmp_path / "scripts/bin")
        script(tmp_path / ".venv/bin/python", "#!/bin/sh\n")
        script(tmp_path / ".tools/bin/pulumi", "#!/bin/sh\n")
        # Twice, as PATH must not grow; from elsewhere where the shell allows it.
        elsewhere = f"cd /; . {tmp_path}/scripts/activate" if shell != "dash" else ":"
        command = f"set -u; . scripts/activate; {elsewhere}; echo $PATH; env | grep ^PULUMI_"
        done = subprocess.run(
            [shell, "-c", command], cwd=tmp_path, capture_output=True, text=True, check=True
        )
        path, *variables = done.stdout.splitlines()
        ours = [f"{tmp_path}/{name}/bin" for name in ("scripts", ".venv", ".tools")]
        assert path.split(":")[:3] == ours
        assert path.count(f"{tmp_path}/.venv/bin") == 1
        assert f"PULUMI_HOME={tmp_path}/.e3/pulumi" in variables
        assert f"PULUMI_CONFIG_PASSPHRASE_FILE={tmp_path}/.e3/passphrase" in variables
        assert "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION=true" in variables

    def test_activate_before_set_up_says_what_to_type(self, tmp_path: Path) -> None:
        script(tmp_path / "scripts/activate", (ROOT / "scripts/activate").read_text())
        done = subprocess.run(
            ["bash", "-c", ". scripts/activate || echo still here"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout == "still here\n"
        assert f"type:  {tmp_path}/scripts/setup" in done.stderr


def test_an_extra_lock_is_done_once_its_packages_are_there(tmp_path: Path) -> None:
    lock = tmp_path / "requirements-report.txt"
    lock.write_text("pyarrow==26.0.1 \\\n    --hash=sha256:0\n")
    extra = Extra(lock, tmp_path / "venv")
    assert not extra.done()
    (tmp_path / "venv/lib/python3.11/site-packages/pyarrow-26.0.1.dist-info").mkdir(parents=True)
    assert extra.done()
    lock.write_text("pyarrow==27.0.0 \\\n    --hash=sha256:0\n")
    assert not extra.done()
