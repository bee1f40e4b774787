"""What E3 prevents of a malicious peer, and what happens with MPyC alone."""

import secrets
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

from tests.faults.cases_identity import MALICE

SECONDS = 30.0


def test_mpyc_alone_obeys_a_peer(tmp_path: Path) -> None:
    """The case "a malicious pickle" without E3: party 0 runs what party 2 sent."""
    program = tmp_path / "program.py"
    program.write_text(MALICE)
    port = str(12_000 + secrets.randbelow(18_000))
    with ExitStack() as parties:
        running = []
        for pid in range(3):
            argv = [sys.executable, str(program), "-M3", "-I", str(pid), "-B", port]
            party = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            running.append(parties.enter_context(party))
            parties.callback(party.kill)
        said, _ = running[0].communicate(timeout=SECONDS)
    assert b"OBEYED by party 0" in said
