"""An existing agent, Veramo, at a mediator of E3: it registers, and reads what E3 sends."""

import asyncio
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from e3.didcomm.mailbox import opened
from tests.commands import ROOT
from tests.unit.didcomm.test_mediator import KIND, SECONDS, served

pytestmark = [pytest.mark.unit, pytest.mark.long]

SOURCE = ROOT / "tests/node/veramo"
INSTALL_SECONDS = 300


@pytest.fixture(scope="module")
def place() -> Path:
    """Install Veramo in .tools, where it stays."""
    if shutil.which("npm") is None:
        pytest.skip("there is no Node here: npm is not on PATH")
    made = ROOT / ".tools/veramo-check"
    shutil.copytree(SOURCE, made, dirs_exist_ok=True)
    npm = ["npm", "install", "--no-audit", "--no-fund", "--no-package-lock", "--prefer-offline"]
    installed = subprocess.run(
        npm, cwd=made, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False
    )
    if installed.returncode:
        pytest.skip(f"Veramo cannot be had here: {installed.stderr[-300:]}")
    return made


def test_veramo_registers_at_a_mediator_and_reads_a_message_of_e3(place: Path) -> None:
    async def run() -> tuple[str, dict[str, Any], dict[str, Any]]:
        async with served() as (mediator, uri), opened(uri) as alice:
            routing = mediator.identity.document.agreement[0].id
            process = await asyncio.create_subprocess_exec(
                *["node", "agent.mjs", mediator.identity.did, uri, routing],
                cwd=place,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                env={"PATH": os.environ["PATH"]},
            )
            assert process.stdout is not None
            async with asyncio.timeout(3 * SECONDS):
                registered = json.loads(await process.stdout.readline())
                alice.send(registered["did"], KIND, {"text": "hello"}, thid="1")
                await alice.sent_all()
                said, _ = await process.communicate(b"\n")
            return alice.identity.did, registered, json.loads(said)

    sender, registered, said = asyncio.run(run())
    assert registered["granted"].endswith("/3.0/mediate-grant")
    assert registered["updated"].endswith("/3.0/recipient-update-response")
    assert said == {"type": KIND, "body": {"text": "hello"}, "from": sender, "packing": "authcrypt"}
