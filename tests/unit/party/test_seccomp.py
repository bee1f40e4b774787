"""The filter of system calls, interpreted as the kernel does, for each architecture."""

import errno
import re
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from e3.party import seccomp
from e3.party.seccomp import AARCH64, ARM, EVERYWHERE, RISCV64, X86_64, Table, program

ALLOWED = 0
TABLES = {"x86_64": X86_64, "aarch64": AARCH64, "riscv64": RISCV64, "arm": ARM}
HEADERS = {"x86_64": "x86_64-linux-gnu/asm/unistd_64.h", "aarch64": "asm-generic/unistd.h"}
NAMESPACES = (0x00020000, 0x02000000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000)
THREAD = 0x003D0F00
FAMILIES = range(50)
TRIED = (
    "import ctypes, errno, json\n"
    "from e3.party.seccomp import forbid_calls\n"
    "libc = ctypes.CDLL(None, use_errno=True)\n"
    "libc.prctl(38, 1, 0, 0, 0)\n"
    "forbid_calls()\n"
    "def call(*arguments):\n"
    "    ctypes.set_errno(0)\n"
    "    libc.syscall(*map(ctypes.c_long, arguments))\n"
    "    return errno.errorcode.get(ctypes.get_errno(), '')\n"
)


def decide(table: Table, number: int, *arguments: int, audit: int | None = None) -> int:
    """Return the error of a call, 0 where it is allowed."""
    words = [argument & (2**64 - 1) for argument in (*arguments, *[0] * (6 - len(arguments)))]
    data = struct.pack("<IIQ6Q", number, table.audit if audit is None else audit, 0, *words)
    instructions = program(table)
    loaded, place = 0, 0
    while True:
        code, yes, no, value = instructions[place]
        place += 1
        if code == seccomp.LOAD:
            (loaded,) = struct.unpack_from("<I", data, value)
        elif code == seccomp.AND:
            loaded &= value
        elif code == seccomp.RETURN:
            return 0 if value == seccomp.ALLOW[3] else value & 0xFFFF
        else:
            holds = {
                seccomp.EQUAL: loaded == value,
                seccomp.ABOVE: loaded > value,
                seccomp.ANY_OF: bool(loaded & value),
            }
            place += yes if holds[code] else no


@pytest.fixture(params=TABLES)
def table(request: pytest.FixtureRequest) -> Table:
    return TABLES[request.param]


def test_no_call_makes_a_namespace(table: Table) -> None:
    for flag in NAMESPACES:
        assert decide(table, table.clone, flag | 17) == errno.EPERM
        assert decide(table, table.refused["unshare"], flag) == errno.EPERM
    assert decide(table, table.clone, THREAD) == ALLOWED
    assert decide(table, table.clone, 17) == ALLOWED
    assert decide(table, seccomp.CLONE3) == errno.ENOSYS
    assert decide(table, table.refused["setns"]) == errno.EPERM


def test_all_that_is_listed_is_refused(table: Table) -> None:
    for number in (*table.refused.values(), *EVERYWHERE.values()):
        assert decide(table, number) == errno.EPERM


def test_what_is_not_known_is_not_there(table: Table) -> None:
    assert decide(table, seccomp.LAST_KNOWN) == ALLOWED
    for number in (seccomp.LAST_KNOWN + 1, 1000, 0x40000000 + 41, 2**32 - 1):
        assert decide(table, number) == errno.ENOSYS
    if table.private:
        assert decide(table, 0x0F0002) == ALLOWED  # cacheflush


def test_the_calls_of_another_architecture_are_refused(table: Table) -> None:
    for audit in (0x40000003, *(other.audit for other in TABLES.values())):
        refused = 0 if audit == table.audit else errno.EPERM
        assert decide(table, 20, audit=audit) == refused


def test_families_of_sockets(table: Table) -> None:
    allowed = {family for family in FAMILIES if decide(table, table.socket, family, 1) == ALLOWED}
    assert allowed == {1, 2, 10, 16}
    for protocol in range(1, 23):  # of netlink; 0 is about routes
        assert decide(table, table.socket, 16, 3, protocol) == errno.EPROTONOSUPPORT
    nonblocking = 0o4000 | 0o2000000
    for family in (2, 10):
        assert decide(table, table.socket, family, 1 | nonblocking, 6) == ALLOWED
        assert decide(table, table.socket, family, 2 | nonblocking, 17) == ALLOWED
        assert decide(table, table.socket, family, 5) == errno.ESOCKTNOSUPPORT
        for protocol in (33, 132, 136, 256):  # DCCP, SCTP, UDP-Lite, SMC
            assert decide(table, table.socket, family, 1, protocol) == errno.EPROTONOSUPPORT
    assert [decide(table, table.socketpair, family) == ALLOWED for family in (1, 2, 30)] == [
        True,
        False,
        False,
    ]


@pytest.mark.parametrize("name", HEADERS)
def test_numbers_are_those_of_the_headers(name: str) -> None:
    header = Path("/usr/include", HEADERS[name])
    if not header.exists():
        pytest.skip("this machine has no such headers")
    known = dict(re.findall(r"#define __NR3?2?6?4?_?_?(\w+) (\d+)", header.read_text()))
    table = TABLES[name]
    ours = {"clone": table.clone, "socket": table.socket, "socketpair": table.socketpair}
    ours |= {"seccomp": table.seccomp, **table.refused, **EVERYWHERE}
    assert {call: number for call, number in ours.items() if call in known} == {
        call: int(known[call]) for call in ours if call in known
    }
    assert len(known.keys() & ours.keys()) > len(ours) - 5


def test_the_kernel_takes_the_filter() -> None:
    tried = (
        f"{TRIED}"
        "print(json.dumps([call(272, 0x10000000), call(435, 0, 0), call(41, 40, 1, 0),"
        " call(165, 0, 0, 0, 0, 0), call(425, 1, 0), call(39), call(41, 2, 1, 0)]))\n"
    )
    if sys.maxsize < 2**32 or not Path("/usr/include/x86_64-linux-gnu").exists():
        pytest.skip("numbers of x86-64")
    done = subprocess.run([sys.executable, "-c", tried], capture_output=True, text=True, check=True)
    assert done.stdout == '["EPERM", "ENOSYS", "EAFNOSUPPORT", "EPERM", "EPERM", "", ""]\n'
