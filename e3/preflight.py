"""Check the configuration and this machine before anything is made.

Each check raises an `E3Error` that names key, value and remedy.
"""

import os
import shutil
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

from e3 import pulumi_state
from e3.authority.choices import AUTHORITIES, Joint, agreed
from e3.errors import ConfigurationError, PlatformError
from e3.experiment import Choice, Experiment
from e3.interfaces import Needs, Overlay
from e3.lab.addresses import CARRIER_RANGE, HOME_RANGE, LAB_NETWORK
from e3.nats import Reachability
from e3.overlays import OVERLAYS
from e3.reachability import needs_of, shortfall
from e3.registry import build
from e3.session.declarations import declaration

ROOT = Path(__file__).resolve().parents[1]

PROGRAMS: Mapping[str, str] = {"tinc": "tincd", "wireguard-tools": "wg"}
"""The program that shows that a package is installed, if it is not called like the package."""

WATCHES = Path("/proc/sys/fs/inotify/max_user_instances")
WATCHING = "wireguard-go"
"""The program of which each process watches its own socket by inotify(7). It is not used where
the kernel has a `KERNEL_WIREGUARD` of its own."""

KERNEL_WIREGUARD = Path("/sys/module/wireguard")

OTHERS_WATCH = 20
"""Instances of inotify(7) that programs of a usual machine have."""

SPARE = [IPv4Network((0x0A00_0000 + (index << 16), 16)) for index in range(81, 256)]
"""Ranges to propose: parts of 10.0.0.0/8 that no overlay uses by default."""


def check(experiment: Experiment, overlay: Overlay, *, own_programs: bool) -> None:
    """Run all checks; ``own_programs``: the hosts run the programs of this machine."""
    check_reachability(experiment.overlay.name, overlay, OVERLAYS, experiment.reachability)
    check_range(experiment, overlay)
    check_authority(experiment, overlay)
    check_packages(experiment)
    overlay.assign(experiment.host_names, None)
    if len(experiment.host_names) == 1:
        raise ConfigurationError(
            "e3:regions: one host has nobody to compute with; make two or more, in one region or "
            "in several"
        )
    if own_programs:
        Equipment().check(experiment.overlay.name, overlay.needs, experiment.stack)
        check_watches(overlay.needs, len(experiment.host_names))


def check_watches(needs: Needs, hosts: int, limit: Path = WATCHES) -> None:
    """Raise `PlatformError` if so many hosts of this machine could not watch what they serve."""
    if WATCHING not in needs.tools or not limit.exists() or KERNEL_WIREGUARD.exists():
        return
    wanted, found = hosts + OTHERS_WATCH, int(limit.read_text())
    if found < wanted:
        raise PlatformError(
            f"e3:regions: {WATCHING} on {hosts} hosts needs {wanted} instances of inotify, of "
            f"which a user of this machine may have {found}; run "
            f"`sudo sysctl fs.inotify.max_user_instances={2 * wanted}`"
        )


def check_reachability(
    chosen: str,
    overlay: Overlay,
    overlays: Mapping[str, Callable[..., Overlay]],
    reachability: Mapping[str, Reachability],
) -> None:
    """Raise `ConfigurationError` if the ``overlay`` of that name cannot join these hosts.

    ``reachability`` is the class of each host by its name. The error says which of the
    other ``overlays`` could.
    """
    reason = shortfall(chosen, needs_of(overlay), reachability)
    if reason is None:
        return
    able = [
        name
        for name, make in sorted(overlays.items())
        if shortfall(name, needs_of(make()), reachability) is None
    ]
    remedy = f"choose in e3:overlay what works here: {', '.join(able)}" if able else ""
    others = remedy or "no other overlay works here either"
    raise ConfigurationError(f"e3:nats: {reason}; change e3:nats, or {others}")


def check_authority(experiment: Experiment, overlay: Overlay) -> None:
    """Raise `ConfigurationError` if the authority that was chosen cannot be, or signs nothing."""
    kind = build(AUTHORITIES, experiment.authority, key="authority")
    if not isinstance(kind, Joint):
        return
    agreed(kind, experiment.host_names)
    if not (overlay.needs.authority or experiment.session.rules.tls or kind.ssh or kind.claims):
        raise ConfigurationError(
            f"e3:authority: a joint authority has nothing to sign: {experiment.overlay.name} needs "
            "none; choose the overlay nebula, set e3:tls: true, or ssh or claims of "
            "e3:authority-options"
        )


def check_packages(experiment: Experiment) -> None:
    """Raise `ProgramError` if what the program asks to have installed cannot be read."""
    if experiment.session.rules.dependencies != "none" and (
        asked := declaration(experiment.program)
    ):
        from e3.session.requirements import declared  # noqa: PLC0415 -- most ask for none

        declared(asked)


def check_range(experiment: Experiment, overlay: Overlay) -> None:
    """Raise `ConfigurationError` if the overlay's option ``range`` overlaps what others use.

    Labs are isolated from each other, so several stacks may use the default range; a chosen range
    must be the stack's own.
    """
    span = overlay.range
    if span is None:
        return
    chosen = "range" in experiment.overlay.options
    taken = [*_below(experiment), *(_of_stacks(experiment) if chosen else ())]
    for other, whose in taken:
        if span.overlaps(other):
            used = [network for network, _ in taken]
            free = next(s for s in SPARE if not any(map(s.overlaps, used)))
            raise ConfigurationError(
                f"e3:overlay-options: range is {str(span)!r}, which overlaps {other}, {whose}; "
                f"choose one that is free, such as {free}"
            )


def _below(experiment: Experiment) -> Iterator[tuple[IPv4Network, str]]:
    """Yield the ranges that labs use, whichever fleet makes this stack's hosts."""
    yield LAB_NETWORK, "the underlay of labs"
    if experiment.nats:
        yield HOME_RANGE, "where hosts behind NATs have their addresses"
        yield CARRIER_RANGE, "what lies between a carrier's NAT and its customers"


def _of_stacks(experiment: Experiment) -> Iterator[tuple[IPv4Network, str]]:
    """Yield the range of each other stack of this machine that is up."""
    files = experiment.folder.parent
    for path in pulumi_state.checkpoints(files):
        stack = pulumi_state.stack_of(path)
        if path.parent == files / pulumi_state.STACKS and stack != experiment.stack:
            joined = pulumi_state.outputs(pulumi_state.read(path), "Overlay")
            if joined:
                choice = Choice(name=joined["kind"], options=joined["options"])
                span = build(OVERLAYS, choice, key="overlay").range
                if span is not None:
                    yield span, f"the overlay of stack {stack}"


@dataclass(frozen=True, kw_only=True)
class Equipment:
    """The programs of this machine: those that scripts/setup built, in ``built``, and ``path``."""

    built: Path = ROOT / ".tools" / "bin"
    path: str = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"

    def check(self, overlay: str, needs: Needs, stack: str) -> None:
        """Raise `PlatformError` with the programs that the overlay lacks, and the remedy."""
        lacking = [tool for tool in needs.tools if not self._has_built(tool)]
        lacking += [package for package in needs.packages if not self._has_installed(package)]
        if lacking:
            raise PlatformError(
                f"e3:overlay: {overlay} needs {', '.join(lacking)}, which this machine does not "
                f"have; run `scripts/setup {stack}`, which brings it or says why it cannot"
            )

    def left_out(self, needs: Needs) -> bool:
        """Return whether a program is missing that is built only where a stack asks for it."""
        return any(
            _recipe(tool).get("only_if_asked") and not self._has_built(tool) for tool in needs.tools
        )

    def _has_built(self, tool: str) -> bool:
        return all((self.built / program).exists() for program in _recipe(tool)["programs"])

    def _has_installed(self, package: str) -> bool:
        return shutil.which(PROGRAMS.get(package, package), path=self.path) is not None


def _recipe(tool: str) -> Mapping[str, Any]:
    return tomllib.loads((ROOT / "tools" / tool / "recipe.toml").read_text())
