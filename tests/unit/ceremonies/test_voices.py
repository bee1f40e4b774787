"""What a coordinator hears of a holder's program."""

import asyncio
from asyncio.subprocess import PIPE
from types import SimpleNamespace
from typing import Any

import pytest

from e3.authority.joint.messages import Greet
from e3.ceremonies.voices import HostVoice

pytestmark = pytest.mark.unit

LATE = """read question; sleep 0.3; echo '{"answer":"done"}'; exec cat"""


def test_a_late_answer_is_not_taken_for_one_to_the_next_question() -> None:
    async def ask_twice() -> None:
        process = await asyncio.create_subprocess_exec("sh", "-c", LATE, stdin=PIPE, stdout=PIPE)
        host: Any = SimpleNamespace(name="ams3-0")
        voice = HostVoice(host, process, seconds=0.1)  # type: ignore[arg-type]
        try:
            with pytest.raises(TimeoutError):
                await voice.ask(Greet(purpose="nebula"))
            await asyncio.sleep(0.4)
            with pytest.raises(TimeoutError, match="ams3-0 is silent"):
                await voice.ask(Greet(purpose="nebula"))
        finally:
            process.kill()
            await process.communicate()

    asyncio.run(ask_twice())
