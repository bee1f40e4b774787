"""Inventories as Ansible itself reads them: `ansible-inventory --list`, bounded and isolated.

Only Ansible's readers of static inventories run, with the variables of group_vars and host_vars
beside the file. No plugin or script of an inventory runs, no expression is evaluated, and nothing
of the user's own Ansible (configuration, vault passwords) is used.
"""

import re
import resource
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import msgspec
import yaml

from e3.errors import ConfigurationError
from e3.inventory import foreign
from e3.inventory.report import ImportReport
from e3.remote.text import printable

CPU_SECONDS, WALL_SECONDS = 60, 180
DATA_BYTES = 512 << 20
ANSWER_BYTES = 32_000_000
"""Limits for reading one inventory."""

MOST_OF_RANGE = 10_000
"""Hosts of one pattern: web[1:99999999] is a short line that fills all memory."""

RANGE = re.compile(r"\[(\d{1,18}):(\d{1,18})(?::\d+)?\]")


def run(report: ImportReport, path: Path, plugin: str) -> dict[str, Any]:
    """Return what ansible-inventory prints of a file; its warnings become notes."""
    if "," in str(path):
        raise ConfigurationError(
            f"{path} has a comma in its path, which is a list of hosts to Ansible"
        )
    _check_ranges(report)
    with tempfile.TemporaryDirectory() as folder:
        status, answer, said = _run(path, plugin, Path(folder))
    if status:
        raise ConfigurationError(_why(report, said, status))
    for line in said.splitlines():
        if line.startswith("[WARNING]: "):
            words = line.removeprefix("[WARNING]: ")
            report.note(report.place(*_named(words)[:1]), f"Ansible says {printable(words)}")
    try:
        return msgspec.json.decode(answer, type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise ConfigurationError(f"Ansible's answer of {path} cannot be read: {error}") from None


def _run(path: Path, plugin: str, folder: Path) -> tuple[int, bytes, str]:
    """Run ansible-inventory in an empty folder, with an environment of its own, and bounded."""
    (folder / "ansible.cfg").touch()
    environment = {
        "ANSIBLE_CONFIG": str(folder / "ansible.cfg"),
        "ANSIBLE_HOME": str(folder / "home"),
        "ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "1",
        "ANSIBLE_INVENTORY_ENABLED": f"ansible.builtin.{plugin}",
        "ANSIBLE_INVENTORY_PLUGIN_EXTS": f".yaml,.yml,.json,{path.suffix}",
        "ANSIBLE_LOCAL_TEMP": str(folder / "tmp"),
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_TRANSFORM_INVALID_GROUP_CHARS": "ignore",
        "HOME": str(folder),
        "LC_ALL": "C.UTF-8",
        "PATH": "/usr/bin:/bin",
    }
    argv = [sys.executable, "-I", "-m", "ansible", "inventory", "-i", str(path), "--list"]
    out, err = folder / "out", folder / "err"
    with out.open("wb") as stdout, err.open("wb") as stderr:
        process = subprocess.Popen(
            argv,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
        )
        for limit, most in (
            (resource.RLIMIT_DATA, DATA_BYTES),
            (resource.RLIMIT_CPU, CPU_SECONDS),
            (resource.RLIMIT_FSIZE, ANSWER_BYTES),
        ):
            resource.prlimit(process.pid, limit, (most, most))
        try:
            status = process.wait(WALL_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            status = process.wait()
    return status, out.read_bytes(), err.read_bytes().decode(errors="replace")


def _why(report: ImportReport, said: str, status: int) -> str:
    """Return why Ansible cannot read a file, with the line if it can be found."""
    if "No module named ansible" in said:
        return "Ansible, which reads inventories, is missing; run scripts/setup"
    if "MemoryError" in said or status in {-signal.SIGKILL, -signal.SIGXCPU, -signal.SIGXFSZ}:
        return (
            f"Ansible needs more than {CPU_SECONDS} s or {DATA_BYTES >> 20} MB to read this; is it "
            "a list of machines?"
        )
    found = re.search(r"plugin: (?:Failed to parse inventory: )?(.*)", said)
    words = found[1] if found else said.strip().rpartition("\n")[2]
    line = _yaml_fault(report.text) if "YAML" in words else 0
    where = f"{report.source}, line {line}" if line else report.place(*_named(words)[:1])
    return f"{where}: Ansible does not read this: {printable(words)}"


def _check_ranges(report: ImportReport) -> None:
    """Raise `ConfigurationError` for a pattern that stands for too many hosts."""
    for number, line in enumerate(report.text.splitlines(), 1):
        for word in line.split():
            count = 1
            for first, last in RANGE.findall(word):
                count *= max(int(last) - int(first) + 1, 1)
            if count > MOST_OF_RANGE and not line.lstrip().startswith(("#", ";")):
                raise ConfigurationError(
                    f"{report.source}, line {number}: {printable(word)} stands for {count} hosts"
                )


def _named(words: str) -> list[str]:
    """Return the names in a message of Ansible's, the longest first, to find their line."""
    found = [*re.findall(r"'([^']+)'", words), *re.findall(r"\((\w+)\)", words)]
    found += re.findall(r"(?:got|name|children|host): (\S+)$", words)
    return sorted(
        (name for name in found if not re.search(r"ansible[._]\w+\.", name)), key=len, reverse=True
    )


def _yaml_fault(text: str) -> int:
    try:
        foreign.check_yaml(text)
    except yaml.MarkedYAMLError as error:
        return error.problem_mark.line + 1 if error.problem_mark else 0
    except yaml.YAMLError:
        return 0
    return 0
