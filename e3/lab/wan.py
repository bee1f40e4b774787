"""The WAN: a process that holds a TUN device of each region and delivers packets when they are due.

It exists because some kernels lack sch_netem. Every packet comes with a struct virtio_net_hdr and
may be a segment of up to 64 KiB (TUNSETOFFLOAD; linux/if_tun.h, linux/virtio_net.h), so that the
loop runs once a segment. A link with loss or a rate gets single packets.
"""

import contextlib
import fcntl
import gc
import heapq
import json
import os
import select
import socket
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from e3.errors import LabError
from e3.lab import linux
from e3.lab.links import RegionLink
from e3.lab.schedule import Alarm, DelayLine
from e3.remote import processors

TUNSETOFFLOAD = 0x400454D0
TUN_F_CSUM, TUN_F_TSO4, TUN_F_TSO6, TUN_F_USO4, TUN_F_USO6 = 0x1, 0x2, 0x4, 0x20, 0x40
TCP_SEGMENTS = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6
ALL_SEGMENTS = TCP_SEGMENTS | TUN_F_USO4 | TUN_F_USO6  # USO: Linux 6.2

HEADER_BYTES = 10  # struct virtio_net_hdr
IPV4 = 4
DESTINATION = HEADER_BYTES + 16  # offset of the destination address (RFC 791, 3.1)
DESTINATION6 = HEADER_BYTES + 36  # offset of its last 32 bits in IPv6 (RFC 8200, 3)
PACKET_BYTES = 70_000
BURST = 32  # packets read from one device before the next is served
MOST_WAITING_PACKETS = 200_000
MOST_WAITING_BYTES = 512 << 20
CONTROL_BYTES = 1 << 20
NICE = -20


class Wan:
    """The daemon's side of the delay line."""

    def __init__(self, daemon: int) -> None:
        """Fork the process; it dies with this one, of which ``daemon`` is a pidfd."""
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._control.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, CONTROL_BYTES)
        self.pid = os.fork()
        if self.pid == 0:
            try:
                linux.die_with_parent(daemon)
                linux.set_process_name("e3-wan")
                linux.close_all_but([theirs.fileno()])
                _WanProcess(theirs).run()
            finally:
                os._exit(1)
        theirs.close()
        self._group: processors.Group | None = None

    def go_first(self) -> None:
        """Let the process have most of a busy processor, where this machine permits it.

        Its nice value alone gave it a quarter beside 300 hosts, and it lost every fifth packet.
        """
        if self._group is None and (found := processors.controller()) is not None:
            with contextlib.suppress(OSError):
                self._group = found.make("wan")
                self._group.go_first()
                self._group.take([self.pid])

    def let_go(self) -> None:
        """Release what the process had, once it has ended."""
        self._control.close()
        if self._group is not None:
            self._group.remove()

    def add(self, index: int, tun: int) -> None:
        """Hand over the device of region ``index``; ours is closed."""
        self._ask({"add": index}, [tun])
        os.close(tun)

    def remove(self, index: int) -> None:
        """Close the device of a region, and remove all links from and to it."""
        self._ask({"remove": index})

    def set_links(self, links: Sequence[tuple[int, int, RegionLink]]) -> None:
        """Set links, each from region to region by index; packets on their way are unaffected."""
        self._ask({"links": [[s, t, link.to_properties()] for s, t, link in links]})

    def _ask(self, message: dict[str, Any], descriptors: Sequence[int] = ()) -> None:
        try:
            socket.send_fds(self._control, [json.dumps(message).encode()], descriptors)
            answer = self._control.recv(CONTROL_BYTES)
        except OSError as error:
            raise LabError(f"the lab's WAN is gone: {error.strerror}") from error
        if answer != b"ok":
            raise LabError(f"the lab's WAN refuses {message}: {answer.decode() or 'it died'}")


def _go_before_others() -> None:
    """Let this process run first, if it may: packets are late otherwise, or lost.

    Where Linux shares processors between sessions (sched(7), autogroup), and each program on a host
    is one, a process's nice value counts within its own session alone.
    """
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, NICE)
    with contextlib.suppress(OSError):
        Path("/proc/self/autogroup").write_text(str(NICE))


class _WanProcess:
    """What runs in the process of the WAN."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._tuns: dict[int, int] = {}
        # by device, then by index of the target region
        self._lines: dict[int, dict[int, DelayLine]] = {}
        self._waiting: list[tuple[float, int, int, bytes]] = []  # due, number, target, packet
        self._waiting_bytes = 0
        self._number = 0

    def run(self) -> None:
        """Forward packets until the daemon has ended."""
        linux.set_timer_slack(1)
        gc.disable()  # nothing here makes cycles, and a collection would delay packets
        _go_before_others()
        waiting, control = self._waiting, self._control.fileno()
        alarm, clock = Alarm(), time.monotonic
        while True:
            timeout = alarm.timeout(waiting[0][0], clock()) if waiting else None
            # select(2) counts microseconds where epoll(7) counts milliseconds
            readable = select.select([control, *self._lines], [], [], timeout)[0]
            if timeout and not readable:
                alarm.woke(clock())
            for device in readable:
                if device == control:
                    if not self._handle_message():
                        return
                    break  # what is readable may be closed now
                self._collect(device)
                self._deliver()
            self._deliver()

    def _collect(self, device: int) -> None:
        """Read packets from a device and compute when they are due."""
        lines, waiting, read, clock = self._lines[device], self._waiting, os.read, time.monotonic
        for _ in range(BURST):
            try:
                packet = read(device, PACKET_BYTES)
            except OSError:  # nothing more to read
                return
            # 198.18.0.0/15 in networks of /22: the region is the middle seven bits, and those of
            # IPv6 follow from it (e3.lab.addresses.ipv6_of)
            at = DESTINATION if packet[HEADER_BYTES] >> 4 == IPV4 else DESTINATION6
            index = (packet[at + 1] & 1) << 6 | packet[at + 2] >> 2
            line, target = lines.get(index), self._tuns.get(index)
            if line is None or target is None:
                continue
            size = len(packet)
            due = clock() + line.delay if line.is_constant else line.arrival(clock(), size)
            full = self._waiting_bytes > MOST_WAITING_BYTES or len(waiting) > MOST_WAITING_PACKETS
            if due is None or full:
                continue
            self._number += 1
            self._waiting_bytes += size
            heapq.heappush(waiting, (due, self._number, target, packet))

    def _deliver(self) -> None:
        """Write every packet that is due."""
        waiting, write, clock = self._waiting, os.write, time.monotonic
        while waiting and waiting[0][0] <= clock():
            _, _, target, packet = heapq.heappop(waiting)
            self._waiting_bytes -= len(packet)
            with contextlib.suppress(OSError):  # the device is down or gone: a WAN drops, too
                write(target, packet)

    def _handle_message(self) -> bool:
        """Carry out a message of the daemon; return False when it has ended."""
        data, descriptors, _, _ = socket.recv_fds(self._control, CONTROL_BYTES, 1)
        if not data:
            return False
        message = json.loads(data)
        if "add" in message:
            self._tuns[message["add"]] = descriptors[0]
            self._lines[descriptors[0]] = {}
            _set_segments(descriptors[0], whole=True)
        elif "remove" in message:
            self._remove(message["remove"])
        else:
            self._set_links(message["links"])
        self._control.send(b"ok")
        return True

    def _remove(self, index: int) -> None:
        device = self._tuns.pop(index)
        del self._lines[device]
        for lines in self._lines.values():
            lines.pop(index, None)
        # the number of a closed device may be reused
        kept = [entry for entry in self._waiting if entry[2] != device]
        self._waiting[:] = kept
        heapq.heapify(self._waiting)
        self._waiting_bytes = sum(len(entry[3]) for entry in kept)
        os.close(device)

    def _set_links(self, links: Sequence[tuple[int, int, dict[str, Any]]]) -> None:
        changed = set()
        for source, target, values in links:
            device = self._tuns[source]
            link = RegionLink(**values)
            self._lines[device][target] = DelayLine(link, began=time.monotonic())
            changed.add(device)
        for device in changed:
            lines = self._lines[device].values()
            _set_segments(device, whole=not any(line.link.counts_packets for line in lines))


def _set_segments(device: int, *, whole: bool) -> None:
    """Make the kernel deliver whole segments, or single packets; always without checksums."""
    for wanted in (ALL_SEGMENTS, TCP_SEGMENTS) if whole else (TUN_F_CSUM,):
        with contextlib.suppress(OSError):
            fcntl.ioctl(device, TUNSETOFFLOAD, wanted)
            return
