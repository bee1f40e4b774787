"""flake.nix, modules and images, evaluated by a real Nix against a stub of nixpkgs.

The stub (tests/nix_stub) has the part of nixpkgs' lib that they use, and packages by name alone.
What only nixpkgs itself can tell is marked so, and skipped where it cannot be had.
"""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from e3.overlays import OVERLAYS, didcomm, nebula, tinc, wireguard
from e3.providers.nix_build import SOURCES
from tests import nix

pytestmark = nix.NEEDED

ROOT = Path(__file__).parents[2]
FILES = [
    ROOT / "flake.nix",
    *sorted((ROOT / "nix").rglob("*.nix"), key=str),
    *(ROOT / "images").glob("*.nix"),
]
STUBS = sorted((ROOT / "tests/nix_stub").glob("*.nix"))
IMAGES = ("digitalocean", "raspberry-pi", "vm")
ON = sorted({*OVERLAYS} - {"plain"})
SENT = {"iroh", "libp2p", "tunnel"}
"""Programs that nixpkgs does not have: E3 sends them."""


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    folder = tmp_path_factory.mktemp("nix")
    yield {**os.environ, **nix.settings(folder)}
    nix.remove(folder)


class Evaluator:
    """Evaluates expressions that see ``stub``, in the project's folder."""

    def __init__(self, settings: dict[str, str]) -> None:
        self.settings = settings

    def __call__(self, expression: str) -> Any:  # noqa: ANN401 - whatever JSON holds
        done = self.run(
            "nix-instantiate", "--eval", "--strict", "--json", "-E",
            f"let stub = import ./tests/nix_stub; in {expression}",
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def machine(self, *modules: str) -> Any:  # noqa: ANN401 - as above
        listed = " ".join(["./nix/modules", *modules])
        return self(f'(stub.machine "x86_64-linux" [{listed}]).config')

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, cwd=ROOT, env=self.settings, capture_output=True, text=True, check=False
        )


@pytest.fixture(scope="module")
def evaluate(settings: dict[str, str]) -> Evaluator:
    return Evaluator(settings)


def test_every_file_parses(evaluate: Evaluator) -> None:
    assert len(FILES) > 15
    done = evaluate.run("nix-instantiate", "--parse", *map(str, [*FILES, *STUBS]))
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(not shutil.which("alejandra"), reason="no alejandra here; `nix develop` has it")
def test_every_file_is_formatted(evaluate: Evaluator) -> None:
    done = evaluate.run("alejandra", "--check", *map(str, [*FILES, *STUBS]))
    assert done.returncode == 0, done.stderr


def test_the_lock_is_that_of_the_inputs(evaluate: Evaluator, tmp_path: Path) -> None:
    """Without network: Nix would have to fetch an input that is not locked as it is asked for."""
    for name in ("flake.nix", "flake.lock"):
        shutil.copy(ROOT / name, tmp_path)
    features = ["--extra-experimental-features", "nix-command flakes"]
    ask = ["flake", "metadata", "--json", "--no-update-lock-file", f"path:{tmp_path}"]
    done = evaluate.run("nix", *features, *ask)
    assert done.returncode == 0, done.stderr
    locked = json.loads(done.stdout)["locks"]["nodes"]["nixpkgs"]["locked"]
    assert re.fullmatch("[0-9a-f]{40}", locked["rev"])
    assert locked["narHash"].startswith("sha256-")


def test_nothing_but_the_named_sources_is_used() -> None:
    """So a build is due again when these change, and only then."""
    sources = [ROOT / name for name in SOURCES]
    for file in FILES:
        for literal in re.findall(r"(?<![\w\"}])\.{1,2}/[\w./-]+", file.read_text()):
            target = (file.parent / literal).resolve()
            assert target.exists(), f"{file}: {literal}"
            assert any(target.is_relative_to(source) for source in sources), f"{file}: {literal}"


def test_mpyc_is_the_one_of_the_lock(evaluate: Evaluator) -> None:
    text = (ROOT / "nix/packages/mpyc.nix").read_text()
    version, sri = re.findall(r'(?:version|hash) = "(.*)"', text)
    lock = (ROOT / "requirements.txt").read_text()
    hashes = lock.partition(f"\nmpyc=={version} ")[2].partition("# via")[0]
    features = ["--extra-experimental-features", "nix-command"]
    digest = evaluate.run("nix", *features, "hash", "to-base16", sri)
    assert f"--hash=sha256:{digest.stdout.strip()}" in hashes


def test_the_flake_has_what_the_docs_say(evaluate: Evaluator) -> None:
    names = "x: builtins.mapAttrs (_: builtins.attrNames) x"
    found = evaluate(
        f"let o = (import ./flake.nix).outputs {{nixpkgs = stub.flake;}}; names = {names};"
        " in {packages = names o.packages; shells = names o.devShells;"
        " modules = builtins.attrNames o.nixosModules;"
        " shell = map toString o.devShells.x86_64-linux.default.packages;"
        " formatter = map toString (builtins.attrValues o.formatter);"
        " built = map toString (builtins.concatMap builtins.attrValues"
        " (builtins.attrValues o.packages));}"
    )
    assert found["packages"] == {
        "x86_64-linux": ["container", "default", "digitalocean", "mpyc", "party", "vm"],
        "aarch64-linux": ["container", "default", "mpyc", "party", "raspberry-pi", "vm"],
    }
    page = (ROOT / "docs/images.md").read_text()
    for name in {name for names in found["packages"].values() for name in names}:
        assert f"`{name}`" in page, name
    modules = {path.stem for path in (ROOT / "nix/modules").glob("*.nix")} - {"all"}
    assert set(found["modules"]) == modules
    for name in modules:
        assert f"`{name}`" in page, name
    needed = {"pulumi-bin", "python3", "git", "nebula", "headscale", "tailscale", "s6", "tini"}
    assert {f"/package/{name}" for name in needed} <= set(found["shell"])


def test_a_host_lets_in_what_overlays_say_and_trusts_their_interfaces(
    evaluate: Evaluator,
) -> None:
    found = evaluate.machine()
    assert found["e3"]["interfaces"] == [
        "e3-didcomm",
        "nebula1",
        "e3-openvpn",
        "tailscale0",
        "e3-tinc",
        "e3-wireguard",
    ]
    assert {didcomm.DEVICE, nebula.DEVICE, tinc.DEVICE, wireguard.DEVICE} <= set(
        found["e3"]["interfaces"]
    )
    assert found["networking"]["firewall"]["trustedInterfaces"] == found["e3"]["interfaces"]
    assert found["networking"]["firewall"]["checkReversePath"] == "loose"
    assert found["networking"]["firewall"]["enable"] is True
    assert opened(found) == {port for name in ON for port in asked(name)}
    with_plain = evaluate.machine("{e3.overlays.plain.enable = true;}")
    assert opened(with_plain) - opened(found) == set(asked("plain"))


@pytest.mark.parametrize("name", ON)
def test_an_overlay_that_is_off_leaves_nothing(evaluate: Evaluator, name: str) -> None:
    needed = {name, "tailscale"} if name == "headscale" else {name}
    alone = evaluate.machine(without({*ON} - needed))
    assert opened(alone) == set(asked(name))
    gone = {name, "headscale"}
    others = evaluate.machine(without(gone))
    assert opened(others) == {port for other in {*ON} - gone for port in asked(other)}


def without(names: set[str]) -> str:
    return "{" + "".join(f"e3.overlays.{name}.enable = false;" for name in sorted(names)) + "}"


def opened(machine: Any) -> set[tuple[str, int, int]]:  # noqa: ANN401 - whatever JSON holds
    firewall = machine["networking"]["firewall"]
    single = {
        (kind, port, port)
        for kind in ("tcp", "udp")
        for port in firewall.get(f"allowed{kind.upper()}Ports", [])
    }
    ranges = firewall.get("allowedTCPPortRanges", [])
    return single | {("tcp", span["from"], span["to"]) for span in ranges}


def asked(name: str) -> list[tuple[str, int, int]]:
    wanted = OVERLAYS[name]().ingress()
    return [(port.protocol, port.first, port.last) for port in wanted]


def test_a_host_is_entered_by_key_alone(evaluate: Evaluator) -> None:
    found = evaluate.machine('{e3.authorizedKeys = ["ssh-ed25519 AAAA me"];}')
    ssh = found["services"]["openssh"]
    assert ssh["settings"]["PasswordAuthentication"] is False
    assert ssh["settings"]["KbdInteractiveAuthentication"] is False
    assert ssh["settings"]["PermitRootLogin"] == "prohibit-password"
    assert ssh["authorizedKeysFiles"] == ["/var/keys/authorized_keys"]
    root = found["users"]["users"]["root"]
    assert root == {
        "hashedPassword": "!",
        "openssh": {"authorizedKeys": {"keys": ["ssh-ed25519 AAAA me"]}},
    }
    assert "d /var/keys 0700 root root -" in found["systemd"]["tmpfiles"]["rules"]


def test_a_private_key_cannot_be_given(evaluate: Evaluator) -> None:
    key = '{e3.authorizedKeys = ["-----BEGIN OPENSSH PRIVATE KEY-----"];}'
    done = evaluate.run(
        "nix-instantiate", "--eval", "--strict", "--json", "-E",
        f'((import ./tests/nix_stub).machine "x86_64-linux" [./nix/modules {key}]).config',
    )  # fmt: skip
    assert "e3.authorizedKeys" in done.stderr
    assert "of a wrong type" in done.stderr


def test_the_contract_is_in_place(evaluate: Evaluator) -> None:
    found = evaluate(
        'let m = stub.machine "aarch64-linux" [./nix/modules {e3.overlays.tor.enable = false;}];'
        " etc = m.config.environment.etc.e3.source; in {inherit (etc) entries;"
        " text = (builtins.elemAt etc.entries 2).path.text; inherit (m.config.e3.party) chosen;}"
    )
    assert [entry["name"] for entry in found["entries"]] == ["python", "tools", "image.json"]
    assert found["entries"][0]["path"] == "/package/party/bin/python3"
    assert found["entries"][1]["path"] == "/package/e3-tools/bin"
    assert found["chosen"] == ["mpyc", "gmpy2", "numpy"]
    assert json.loads(found["text"]) == {
        "contract": 1,
        "python": "/etc/e3/python",
        "tools": "/etc/e3/tools",
        "system": "aarch64-linux",
        "services": "systemd",
        "overlays": ["headscale", "nebula", "openvpn", "tailscale", "tinc", "wireguard"],
    }


def test_without_a_nebula_that_is_new_enough_the_image_says_that_it_has_none(
    evaluate: Evaluator,
) -> None:
    """So E3 sends its own, to a host that lets its packets in all the same."""
    module = "{e3.overlays.nebula.package = null;}"
    found = evaluate(
        f'let m = stub.machine "x86_64-linux" [./nix/modules {module}];'
        " in {text = (builtins.elemAt m.config.environment.etc.e3.source.entries 2).path.text;}"
    )
    assert "nebula" not in json.loads(found["text"])["overlays"]
    machine = evaluate.machine(module)
    assert "/package/nebula" not in machine["e3"]["tools"]
    assert opened(machine) == opened(evaluate.machine())


def test_each_tool_of_an_overlay_is_on_the_host(evaluate: Evaluator) -> None:
    tools = {name.removeprefix("/package/") for name in evaluate.machine()["e3"]["tools"]}
    needs = [OVERLAYS[name].needs for name in ON]
    assert {name for need in needs for name in (*need.tools, *need.packages)} - SENT <= tools


@pytest.mark.parametrize("image", IMAGES)
def test_an_image_is_a_host_on_a_machine_that_nixpkgs_knows(
    evaluate: Evaluator, image: str
) -> None:
    made = f'stub.machine "x86_64-linux" [./nix/modules ./images/{image}.nix]'
    found = evaluate(f"{{inherit ({made}) imported config;}}")
    assert found["imported"] == [
        {
            "digitalocean": "nixpkgs/virtualisation/digital-ocean-image.nix",
            "raspberry-pi": "nixpkgs/installer/sd-card/sd-image-aarch64.nix",
            "vm": "nixpkgs/virtualisation/qemu-vm.nix",
        }[image]
    ]
    bare = evaluate.machine()
    config = found["config"]
    assert config["networking"]["firewall"] == bare["networking"]["firewall"]
    assert config["services"]["openssh"] == bare["services"]["openssh"]
    assert "PRIVATE KEY" not in json.dumps(config)


def test_a_droplet_has_its_host_key_from_user_data_and_guards_it(evaluate: Evaluator) -> None:
    found = evaluate.machine("./images/digitalocean.nix")
    assert found["services"]["cloud-init"]["enable"] is True
    assert found["services"]["cloud-init"]["settings"]["cloud_init_modules"] == ["ssh"]
    guard = found["networking"]["nftables"]["tables"]["e3-metadata"]
    check = f"table {guard['family']} e3-metadata {{\n{guard['content']}\n}}\n"
    nft = shutil.which("nft", path=f"{os.environ['PATH']}:/usr/sbin")
    if nft and os.geteuid() == 0:
        done = subprocess.run(
            ["unshare", "--net", nft, "--check", "--file", "-"],
            input=check, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    assert found["virtualisation"]["digitalOcean"]["rebuildFromUserData"] is False


@pytest.mark.parametrize("image", ["raspberry-pi", "vm"])
def test_keys_are_taken_over_at_each_start(evaluate: Evaluator, tmp_path: Path, image: str) -> None:
    found = evaluate.machine(f"./images/{image}.nix")
    service = found["systemd"]["services"]["e3-keys"]
    assert service["before"] == ["sshd.service"]
    medium, keys = tmp_path / "medium", tmp_path / "keys"
    medium.mkdir()
    script = service["script"].replace(found["e3"]["keysFrom"], str(medium))
    script = script.replace("/var/keys", str(keys))
    subprocess.run(["sh", "-eu", "-c", script], check=True)
    assert not keys.exists()
    (medium / "authorized_keys").write_text("ssh-ed25519 AAAA me\n")
    subprocess.run(["sh", "-eu", "-c", script], check=True)
    assert (keys / "authorized_keys").read_text() == "ssh-ed25519 AAAA me\n"
    assert (keys / "authorized_keys").stat().st_mode & 0o777 == 0o600


def test_a_container_serves_ssh_with_keys_of_its_volume(evaluate: Evaluator) -> None:
    found = evaluate(
        'let c = (stub.pkgsOf "x86_64-linux").callPackage ./images/container.nix {}; in'
        " {inherit (c) config; contents = map toString c.contents;"
        " entries = map (p: p.entries) (builtins.filter (p: p ? entries) c.contents);}"
    )
    assert found["config"]["Volumes"] == {"/var/keys": {}}
    assert found["config"]["Env"] == ["PATH=/bin"]
    assert "/package/party" in found["contents"]
    assert found["entries"] == [[{"name": "etc/e3", "path": "/package/e3-contract"}]]


@pytest.mark.nixpkgs
@pytest.mark.parametrize("system", ["x86_64-linux", "aarch64-linux"])
def test_every_output_evaluates_with_nixpkgs(evaluate: Evaluator, system: str) -> None:
    """Takes minutes, and a download of nixpkgs."""
    version = evaluate.run("nix", "--version").stdout.strip()
    if tuple(map(int, re.findall(r"\d+", version)[:2])) < (2, 18):
        pytest.skip(f"{version} is too old for nixpkgs, which wants 2.18")
    nix_ = ["nix", "--extra-experimental-features", "nix-command flakes"]
    locked = json.loads((ROOT / "flake.lock").read_text())["nodes"]["nixpkgs"]["locked"]
    reach = evaluate.run(*nix_, "flake", "metadata", f"github:NixOS/nixpkgs/{locked['rev']}")
    if reach.returncode:
        pytest.skip("nixpkgs cannot be had from here")
    apply = "builtins.mapAttrs (_: package: package.drvPath)"
    done = evaluate.run(*nix_, "eval", "--json", f"{ROOT}#packages.{system}", "--apply", apply)
    assert done.returncode == 0, done.stderr
    assert all(path.endswith(".drv") for path in json.loads(done.stdout).values())
