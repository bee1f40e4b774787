"""How far an ordinary user has the containment, with a lab and without one."""

import json
from pathlib import Path

from tests.lab.test_lab_rootless import run_as_user
from tests.lab.test_lab_rootless import stage as stage  # noqa: PLC0414 -- pytest finds it by name

SESSION = """
import asyncio, json, sys
from pathlib import Path
from e3.lab.client import start, stop
from e3.session.private_files import PrivateFiles
from tests.local_access import local_hosts
from tests.sessions import Bench

folder = Path(sys.argv[1])
PROGRAM = '''
import os
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(int(status["CapEff"], 16), int(status["NoNewPrivs"]), os.path.exists("/run/service"))
number = os.environ["E3_INPUT"] + "/number"
try:
    open(number, "a")
except OSError:
    open(os.environ["E3_OUTPUT"] + "/number", "w").write(open(number).read())
'''

def tell(hosts, name):
    (folder / name).mkdir()
    bench = Bench(folder / name, hosts)
    number = bench.folder / "number"
    number.write_text("42")
    for host in bench.hosts:
        asyncio.run(PrivateFiles(host).put("number", number))
    result = bench.run(PROGRAM)
    left = [path.read_text() for path in bench.sessions.glob(f"{result.id}/output/*/number")]
    assert left == ["42"] * 3, (left, result)
    manifest = json.loads((bench.sessions / result.id / "manifest.json").read_text())
    said = {party.output for party in result.parties}
    notes = {host["confined"] for host in manifest["hosts"].values()}
    print(json.dumps([result.verdict, sorted(said), sorted(notes)]))

lab = start(folder / "lab", {("a", "a"): 0.0})
try:
    lab.add_region("a")
    tell([handle.host() for handle in lab.add_hosts([(f"a-{i}", "a") for i in range(3)])], "in")
finally:
    stop(folder / "lab")
tell(local_hosts(folder / "hosts", 3), "out")
"""


def test_what_an_ordinary_users_programs_may_do(stage: Path) -> None:
    in_lab, without = map(json.loads, run_as_user(SESSION, stage, "666").splitlines())
    assert in_lab == [
        "completed",
        ["0 1 False\n"],
        [
            (
                "it runs as root of its namespace, without its powers: "
                "no user of its own (Invalid argument); "
                "it reaches all that its host reaches: no user of its own to tell its packets by"
            )
        ],
    ]
    verdict, said, (notes,) = without
    assert (verdict, said) == ("completed", ["0 1 False\n"])
    assert "it sees the host's files: no mount namespace (Operation not permitted)" in notes
    assert "it shares the host's System V memory: no IPC namespace (Operation not" in notes
    assert "it reaches all that its host reaches: no rules of nftables (Operation not" in notes
    assert "system calls" not in notes
    assert "it runs as the host's user: no user of its own (Operation not permitted)" in notes
