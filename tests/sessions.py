"""Sessions for tests: a program's text, hosts of this machine, and the result."""

import asyncio
import secrets
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from e3.experiment import Rules
from e3.interfaces import Host
from e3.session.plan import Plan, plan
from e3.session.programs import load
from e3.session.results import SessionResult
from e3.session.run_session import SessionSpec, run_session
from tests.local_access import local_hosts

JOINED = """
    from mpyc.runtime import mpc

    async def main():
        async with mpc:
            await mpc.output(mpc.input(mpc.SecInt()(mpc.pid)))
            {body}

    mpc.run(main())
"""
"""A program whose parties are connected and have exchanged messages before ``body``."""

SEALED_BID = "000000310"
"""310, in more digits than stand anywhere by chance."""


IMPORT = "from mpyc.runtime import mpc"
LEAN_IMPORT = f'import os; os.environ["MPYC_NONUMPY"] = "1"; {IMPORT}'


def lean(text: str) -> str:
    """Return a program that loads MPyC without NumPy, half of what a party costs, if it can."""
    return text if "numpy" in text else text.replace(IMPORT, LEAN_IMPORT, 1)


def joined(body: str) -> str:
    """Return the text of a program that does ``body`` in the middle of a computation."""
    return textwrap.dedent(JOINED).format(
        body=textwrap.indent(textwrap.dedent(body), " " * 8).strip()
    )


@dataclass
class Bench:
    """A folder with hosts and sessions in it."""

    folder: Path
    hosts: list[Host] = field(default_factory=list)
    base_port: int = field(default_factory=lambda: 12_000 + secrets.randbelow(18_000))
    """At random: other programs of this machine may listen at MPyC's own ports."""

    def __post_init__(self) -> None:
        self.hosts = self.hosts or local_hosts(self.folder / "hosts", 3)

    @property
    def sessions(self) -> Path:
        return self.folder / "sessions"

    def write(self, text: str, name: str = "program.py") -> Path:
        path = self.folder / name
        path.write_text(lean(textwrap.dedent(text)))
        return path

    def plan(self, program: Path, *args: str, parties: int = 3, entry: str = "") -> Plan:
        return plan(
            hosts=self.hosts,
            addresses={host.name: host.underlay for host in self.hosts},
            program=load(program, args, entry),
            parties=parties,
            base_port=self.base_port,
        )

    def run(  # noqa: PLR0913 -- what a session is made of
        self,
        program: Path | str,
        args: Sequence[str] = (),
        *,
        parties: int = 3,
        deadline_seconds: float = 60,
        rules: Rules | None = None,
        entry: str = "",
        **more: Any,  # noqa: ANN401 -- fields of SessionSpec
    ) -> SessionResult:
        """Run a program, given by path or text, to its verdict."""
        path = self.write(program) if isinstance(program, str) else program
        return asyncio.run(
            run_session(
                SessionSpec(
                    plan=self.plan(path, *args, parties=parties, entry=entry),
                    hosts=self.hosts,
                    overlay="plain",
                    sessions=self.sessions,
                    deadline_seconds=deadline_seconds,
                    rules=rules or Rules(),
                    **more,
                )
            )
        )

    def place(self, host: str, path: str) -> Path:
        """Return a path of a host as it is on this machine."""
        return self.folder / "hosts" / host / path.lstrip("/")

    def put(self, host: str, path: str, content: str = "") -> Path:
        """Write a file on a host whose folder is closed to others."""
        place = self.place(host, path)
        place.parent.mkdir(0o700, parents=True, exist_ok=True)
        place.write_text(content)
        return place

    def log(self, result: SessionResult, pid: int) -> str:
        """Return a party's log as evidence has it."""
        host = result.parties[pid].host
        return (self.sessions / result.id / f"{host}.log").read_text()

    def leftovers(self) -> list[Path]:
        """Return what sessions left on the hosts."""
        return list(self.folder.glob("hosts/*/run/e3/sessions/*"))
