"""Which process a number means: process ids are used again, also after a reboot."""

from dataclasses import dataclass
from pathlib import Path

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
START_TIME = 19  # field 22 of /proc/PID/stat, counted from the field after the name (proc(5))


@dataclass(frozen=True, kw_only=True)
class ProcessIdentity:
    """One process for all time: its id, its start in clock ticks since boot, and that boot."""

    pid: int
    started: int
    boot: str

    def alive(self) -> bool:
        """Return whether that very process still runs; a zombie does not."""
        return identify(self.pid) == self


def identify(pid: int) -> ProcessIdentity | None:
    """Return the process with the number ``pid``; None if there is none, or only a zombie."""
    try:
        # the name stands in parentheses and may hold any character, also parentheses
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    if fields[0] in {"Z", "X"}:
        return None
    return ProcessIdentity(pid=pid, started=int(fields[START_TIME]), boot=boot_id())


def boot_id() -> str:
    """Return the name that the kernel gave to this boot."""
    return BOOT_ID.read_text().strip()
