"""How a host starts: a forked process enters new namespaces, then becomes s6-svscan.

A host sees the machine's files read-only. What it writes to is on a memory file system of its
own, of bounded size. The lab's folder holds what all hosts share (hosts, resolv.conf).
"""

import contextlib
import os
import select
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from e3.errors import LabError
from e3.lab import linux, sysctls
from e3.remote import linux as system

NAMESPACES = system.CLONE_NEWNS | system.CLONE_NEWNET | system.CLONE_NEWUTS | system.CLONE_NEWIPC
INTERFACE = "eth0"
DISK = "/run"
WRITABLE = ("/tmp", "/var/tmp", "/var/lib", "/var/log", "/root", "/dev/shm")  # noqa: S108 - the host's own
STICKY = ("/tmp", "/var/tmp", "/dev/shm")  # noqa: S108
SCAN_FOLDER = "/run/service"
SSH_FOLDER = "/run/lab/ssh"
SCAN_FOLDER_MB = 4


@dataclass(frozen=True, kw_only=True)
class SharedSettings:
    """What every host of a lab has in common.

    ``visible`` are folders that hosts see as they are, also below a folder that each host has
    for itself, such as /tmp. ``hidden`` are folders that hosts see empty.
    """

    folder: str
    visible: tuple[str, ...]
    hidden: tuple[str, ...]
    environment: Mapping[str, str]
    disk_mb: int
    in_user_namespace: bool

    def with_environment(self, more: Mapping[str, str]) -> "SharedSettings":
        """Return the same with more variables for what hosts run."""
        return replace(self, environment={**self.environment, **more})


@dataclass(frozen=True, kw_only=True)
class Uplink:
    """The address of a host or NAT on a cable, and of the gateway at the cable's other end.

    Both are IPv4 addresses or both are IPv6 ones.
    """

    address: str
    gateway: str

    @property
    def is_ipv6(self) -> bool:
        """Whether the two are IPv6 addresses."""
        return ":" in self.address

    @property
    def everywhere(self) -> str:
        """The network of all addresses of that version."""
        return "::/0" if self.is_ipv6 else "0.0.0.0/0"


@dataclass(frozen=True, kw_only=True)
class Cable:
    """The veth pair that connects a host or a NAT to its router.

    ``router`` is the descriptor of the network namespace where the cable ends, as an interface
    named ``port``: the region's router, or a NAT (`e3.lab.nat`). ``uplinks`` has one of IPv4, one
    of IPv6, or both, IPv4 first.
    """

    uplinks: tuple[Uplink, ...]
    mac: str
    gateway_mac: str
    port: str
    router: int

    @property
    def addresses(self) -> tuple[str, ...]:
        """The addresses of the host or NAT on it."""
        return tuple(uplink.address for uplink in self.uplinks)

    def connect(
        self, device: str, *, own: Sequence[str] | None = None, mtu_bytes: int | None = None
    ) -> None:
        """Connect the current network namespace, by an interface named ``device``.

        It gets the addresses ``own``, by default all, and only forwards packets for the others.
        ``mtu_bytes`` is the largest packet that may take its default route.
        """
        addresses = self.addresses if own is None else own
        limit = f" mtu lock {mtu_bytes}" if mtu_bytes else ""
        run_ip(
            f"link set lo up\n"
            f"link add {device} address {self.mac} type veth"
            f" peer name {self.port} netns /proc/self/fd/{self.router}\n"
            + "".join(f"addr add {host_network(address)} dev {device}\n" for address in addresses)
            + f"link set {device} up\n"
            + "".join(
                f"route add {uplink.gateway} dev {device} scope link\n"
                f"neigh add {uplink.gateway} lladdr {self.gateway_mac} dev {device} nud permanent\n"
                f"route add {uplink.everywhere} via {uplink.gateway} dev {device}{limit}\n"
                for uplink in self.uplinks
            ),
            self.router,
        )

    def readdress(self, device: str, before: "Cable") -> None:
        """Replace the addresses of ``device`` in the current network namespace."""
        # in this order: an interface without any address loses its routes
        run_ip(
            "".join(
                f"addr add {host_network(address)} dev {device}\n" for address in self.addresses
            )
            + "".join(
                f"addr del {host_network(address)} dev {device}\n" for address in before.addresses
            )
        )


@dataclass(frozen=True, kw_only=True)
class HostSpec:
    """What is particular to one host: its name and its cable."""

    name: str
    cable: Cable


@dataclass(frozen=True)
class StartingHost:
    """A host that is starting: its first process, and the pipe that reports its progress."""

    spec: HostSpec
    pid: int
    status: int

    def wait(self, timeout_seconds: float) -> None:
        """Return once the host's supervisor serves; raise `LabError` if it fails to start."""
        with os.fdopen(self.status, "rb") as pipe:
            ready = select.select([pipe], [], [], timeout_seconds)[0]
            said = os.read(pipe.fileno(), 65_536) if ready else b"it takes too long"
        if said != b"\n":
            reason = said.decode(errors="replace") or "its first process died"
            raise LabError(f"host {self.spec.name} could not be made: {reason}")


def fork(spec: HostSpec, settings: SharedSettings, daemon: int) -> StartingHost:
    """Start a host; it dies with the process of which ``daemon`` is a pidfd."""
    reading, writing = os.pipe()
    pid = linux.fork_into_pid_namespace()
    if pid == 0:
        _become_host(spec, settings, daemon, writing)
    os.close(writing)
    return StartingHost(spec, pid, reading)


def _become_host(spec: HostSpec, settings: SharedSettings, daemon: int, status: int) -> None:
    """Become the host; never returns."""
    try:
        linux.die_with_parent(daemon)
        os.setsid()
        system.unshare(NAMESPACES)
        linux.set_hostname(spec.name)
        _mount_all(settings)
        _join_network(spec, settings)
        null = os.open("/dev/null", os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(null, descriptor)
        os.set_inheritable(status, True)  # noqa: FBT003 - takes no keyword
        # -d: it writes a newline there once it serves
        command = ["s6-svscan", "-d", str(status), SCAN_FOLDER]
        os.execvpe(command[0], command, dict(settings.environment))  # noqa: S606
    except BaseException as error:  # noqa: BLE001 - no exception may reach the daemon's code, which this is a copy of
        os.write(status, (str(error) or type(error).__name__).encode())
    finally:
        os._exit(1)


def _mount_all(settings: SharedSettings) -> None:
    shared = Path(settings.folder)
    sources = [*settings.visible, str(shared / "hosts"), str(shared / "resolv.conf")]
    system.mount("", "/", flags=system.MS_REC | system.MS_PRIVATE)
    linux.make_read_only("/")
    # held open, as the mounts below may cover them
    held = {path: os.open(path, os.O_PATH) for path in [*sources, str(shared / "ssh")]}
    resolv_conf = os.path.realpath("/etc/resolv.conf")
    _mount_disk(settings.disk_mb)
    _mount_etc()
    for path in settings.visible:
        if not _is_same(path, held[path]):
            Path(path).mkdir(parents=True, exist_ok=True)
            linux.bind(f"/proc/self/fd/{held[path]}", path)
    for path in settings.hidden:
        if Path(path).is_dir():
            linux.bind(f"{DISK}/.disk/empty", path, read_only=True)
    Path(SSH_FOLDER).mkdir(parents=True)
    linux.bind(f"/proc/self/fd/{held[str(shared / 'ssh')]}", SSH_FOLDER)
    linux.bind(f"/proc/self/fd/{held[str(shared / 'hosts')]}", "/etc/hosts")
    _mount_resolv_conf(resolv_conf, held[str(shared / "resolv.conf")])
    flags = system.MS_NOSUID | system.MS_NODEV | system.MS_NOEXEC
    system.mount("proc", "/proc", "proc", flags)
    if not settings.in_user_namespace:  # the kernel may refuse it there, and little needs it
        system.mount("sysfs", "/sys", "sysfs", flags | system.MS_RDONLY)
        _mount_cgroups(flags)
    os.chdir("/")


def _mount_disk(size_mb: int) -> None:
    flags = system.MS_NOSUID | system.MS_NODEV
    system.mount("tmpfs", DISK, "tmpfs", flags, f"mode=755,size={size_mb}m")
    for folder in (".disk/empty", "service", "sshd", "lock", "lab"):
        Path(DISK, folder).mkdir(parents=True)
    # the supervisor must work also when the disk is full
    system.mount("tmpfs", SCAN_FOLDER, "tmpfs", flags, f"mode=700,size={SCAN_FOLDER_MB}m")
    for target in WRITABLE:
        if Path(target).is_dir():
            source = Path(DISK, ".disk", target.strip("/").replace("/", "-"))
            source.mkdir()
            # /root, too, is open to all: Python may lie below it
            source.chmod(0o1777 if target in STICKY else 0o755)
            linux.bind(str(source), target)


def _mount_etc() -> None:
    """Give the host its own overlayfs of the machine's /etc.

    Otherwise a program that watches /etc (inotify(7)), as tailscaled does, is notified of every
    program that starts on any host, as each reads /etc/ld.so.cache.
    """
    layers = f"lowerdir={DISK}/.disk/empty:/etc"
    with contextlib.suppress(OSError):  # a kernel without overlayfs
        system.mount("overlay", "/etc", "overlay", system.MS_RDONLY, layers)


def _mount_cgroups(flags: int) -> None:
    """Mount cgroup2, if the kernel has it: with it a party's runner bounds its whole program."""
    with contextlib.suppress(OSError):
        system.mount("cgroup2", "/sys/fs/cgroup", "cgroup2", flags)


def _mount_resolv_conf(path: str, source: int) -> None:
    """Mount it over the machine's file, which may be a link into /run, now hidden."""
    if not Path(path).exists():
        try:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            Path(path).touch()
        except OSError:
            return  # the machine has none, and /etc is read-only
    linux.bind(f"/proc/self/fd/{source}", path)


def _join_network(spec: HostSpec, settings: SharedSettings) -> None:
    own_group = settings.in_user_namespace  # only group 0 exists there
    ipv6 = any(uplink.is_ipv6 for uplink in spec.cable.uplinks)
    sysctls.write(
        {
            **sysctls.HOST,
            **(sysctls.CABLE6 if ipv6 else sysctls.NO_CABLE6),  # of eth0
            "net/ipv4/ping_group_range": "0 0" if own_group else "0 2147483647",
        }
    )
    spec.cable.connect(INTERFACE)
    # an overlay's own interface may use IPv6, with the usual settings
    sysctls.write(sysctls.USUAL6)


def host_network(address: str) -> str:
    """Return the network that contains this address alone."""
    return f"{address}/{128 if ':' in address else 32}"


def run_ip(commands: str, *descriptors: int, force: bool = False) -> None:
    """Run ip(8) over ``commands``, one a line; ``force`` continues after one that fails."""
    _run(["ip", *(["-force"] if force else []), "-batch", "-"], commands, *descriptors, force=force)


def run_ip6(commands: str) -> None:
    """Run ip(8) over ``commands``, one a line, of which some do not name the IP version."""
    _run(["ip", "-6", "-batch", "-"], commands)


def run_bridge(commands: str) -> None:
    """Run bridge(8), which comes with ip(8), over ``commands``, one a line."""
    _run(["bridge", "-batch", "-"], commands)


def run_nft(ruleset: str) -> None:
    """Load ``ruleset`` by nft(8), all of it or nothing."""
    _run(["nft", "-f", "-"], ruleset)


def _run(argv: Sequence[str], text: str, *descriptors: int, force: bool = False) -> None:
    done = subprocess.run(
        argv,
        input=text.encode(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        pass_fds=descriptors,
        check=False,
        timeout=60,
    )
    if done.returncode and not force:
        raise LabError(f"{argv[0]}: {done.stderr.decode().strip()}")


def _is_same(path: str, descriptor: int) -> bool:
    try:
        return os.path.samestat(Path(path).stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
