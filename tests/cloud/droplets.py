"""Droplets as lab hosts: cloud-init's part in a first boot, a real sshd, the cloud's firewall."""

import asyncio
import json
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from e3.interfaces import File, Service
from e3.lab.client import HostHandle, Lab

PLACE = "/run/droplet"
SSHD_CONFIG = f"""\
Port 22
HostKey {PLACE}/host_key
AuthorizedKeysFile {PLACE}/authorized_keys
AuthenticationMethods publickey
PermitRootLogin prohibit-password
UseDNS no
PrintMotd no
PidFile none
LogLevel ERROR
Subsystem sftp internal-sftp
"""
START_SECONDS = 20.0
OPEN_ETC = f"""
mkdir -p {PLACE}/etc {PLACE}/work
mount -t overlay overlay -o lowerdir=/etc,upperdir={PLACE}/etc,workdir={PLACE}/work /etc
"""
"""A lab host shows the machine's /etc; a droplet has one of its own."""


@dataclass(frozen=True, kw_only=True)
class FirstBoot:
    """What a first boot starts from: user data as sent, and the account's keys for root."""

    user_data: str
    authorized_keys: Sequence[str]
    carries: Mapping[str, object] | None = None
    """What /etc/e3/image.json says, of an image that carries the party environment."""
    packages: Path | None = None
    """What stands for PyPI, which no lab reaches: a folder of Python packages."""


def boot(lab: Lab, name: str, region: str) -> HostHandle:
    """Make the machine; it has its address, and nothing answers there yet."""
    return lab.add_host(name, region)


def start_ssh(handle: HostHandle, given: FirstBoot, hostname: str) -> None:
    """Do what cloud-init does with user data, and start sshd.

    https://cloudinit.readthedocs.io/en/latest/reference/modules.html#ssh: ``ssh_keys`` gives
    the host's keys. https://docs.digitalocean.com/products/droplets/how-to/provide-user-data
    """
    config = yaml.safe_load(given.user_data) if given.user_data else {}
    keys: Mapping[str, str] = (config or {}).get("ssh_keys", {})
    files = [
        File(path=f"{PLACE}/sshd_config", content=(SSHD_CONFIG + _pam()).encode()),
        File(
            path=f"{PLACE}/authorized_keys",
            content="".join(f"{key.strip()}\n" for key in given.authorized_keys).encode(),
        ),
    ]
    if "ed25519_private" in keys:
        content = keys["ed25519_private"].encode()
        files.append(File(path=f"{PLACE}/host_key", content=content, mode=0o600))
    sshd = Service(name="sshd", argv=["/usr/sbin/sshd", "-D", "-e", "-f", f"{PLACE}/sshd_config"])

    async def start() -> None:
        access = handle.access
        await access.put(files, timeout_seconds=START_SECONDS)
        await access.run(["hostname", hostname], timeout_seconds=START_SECONDS)
        if "ed25519_private" not in keys:
            make = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", f"{PLACE}/host_key"]
            await access.run(make, timeout_seconds=START_SECONDS)
        await access.run(["sh", "-euc", OPEN_ETC], timeout_seconds=START_SECONDS)
        await access.put(list(_brings(given)), timeout_seconds=START_SECONDS)
        await access.start(sshd, timeout_seconds=START_SECONDS)

    asyncio.run(start())


def _brings(given: FirstBoot) -> Iterator[File]:
    """Yield what the image itself has, besides the machine's own files."""
    if given.carries is not None:
        yield File(path="/etc/e3/image.json", content=json.dumps(given.carries).encode())
    if given.packages is not None:
        for path in given.packages.iterdir():
            yield File(path=f"{PLACE}/packages/{path.name}", content=path.read_bytes())
        index = f"[global]\nno-index = true\nfind-links = {PLACE}/packages\n"
        yield File(path="/etc/pip.conf", content=index.encode())


def _pam() -> str:
    """Without PAM, sshd refuses an account whose password is locked, as root's is on Ubuntu."""
    locked = Path("/etc/shadow").read_text().startswith("root:!")
    return f"UsePAM {'yes' if locked else 'no'}\n"


def stop_ssh(handle: HostHandle) -> None:
    """Stop all that answers."""
    asyncio.run(handle.access.stop("sshd", timeout_seconds=START_SECONDS))


def filter_packets(handle: HostHandle, rules: Sequence[Mapping[str, Any]] | None) -> None:
    """Apply inbound rules in front of the machine; without any firewall all comes in.

    ``rules`` have ``protocol``, ``ports`` and ``addresses``. Stateful, and what is not
    admitted is dropped: https://docs.digitalocean.com/products/networking/firewalls/
    """
    lines = ["table inet cloud", "delete table inet cloud"]
    if rules is not None:
        admitted = "\n".join(map(_admit, rules))
        lines.append(
            "table inet cloud { chain input {\n"
            "type filter hook input priority -10; policy accept;\n"
            'iifname != "eth0" accept\nct state established,related accept\n'
            f"{admitted}\ndrop\n}}\n}}"
        )
    done = subprocess.run(
        ["nsenter", "-t", str(handle.identity.pid), "-n", "--", "nft", "-f", "-"],
        input="\n".join(lines),
        text=True,
        capture_output=True,
        check=False,
        timeout=START_SECONDS,
    )
    if done.returncode and handle.alive():  # else it was deleted meanwhile
        raise RuntimeError(done.stderr)


def _admit(rule: Mapping[str, Any]) -> str:
    addresses = [address for address in rule["addresses"] if ":" not in address]
    if not addresses:
        return ""
    source = "" if "0.0.0.0/0" in addresses else f"ip saddr {{ {', '.join(addresses)} }} "
    if rule["protocol"] == "icmp":
        return f"{source}meta l4proto icmp accept"
    ports = "" if rule["ports"] in {"0", "all"} else f" dport {rule['ports']}"
    match = f"{rule['protocol']}{ports}" if ports else f"meta l4proto {rule['protocol']}"
    return f"{source}{match} accept"
