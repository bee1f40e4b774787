"""What an agent tells at its socket."""

import asyncio
from pathlib import Path
from typing import Any, cast

import pytest

from e3.agents.agent import Agent, Status, answering
from e3.errors import OverlayError

pytestmark = pytest.mark.unit


class Ended:
    """An agent whose tunnels have ended."""

    async def status(self) -> Status:
        raise OverlayError("e3-tunnel has ended")


def test_who_asks_an_agent_whose_tunnels_have_ended_hears_nothing(tmp_path: Path) -> None:
    complaints: list[dict[str, Any]] = []

    async def ask() -> bytes:
        loop, control = asyncio.get_running_loop(), tmp_path / "control"
        loop.set_exception_handler(lambda _, context: complaints.append(context))
        async with answering(control, cast("Agent", Ended())):
            reader, writer = await asyncio.open_unix_connection(control)
            said = await asyncio.wait_for(reader.read(), 10)
            writer.close()
            return said

    assert asyncio.run(ask()) == b""
    assert not complaints
