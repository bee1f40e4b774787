"""A mediator that loses, repeats, reorders and replays what it passes on, and prints what it does.

python -m tests.malicious_mediator PORT [slow], on the loopback; a slow one passes on everything,
after a second.
"""

import asyncio
import random
import sys

from e3.didcomm.mediator.mediator import Link, Mediator
from e3.didcomm.mediator.queues import Limits
from e3.didcomm.mediator.server import Place, serving
from e3.didcomm.messages import Identity

SEED = 7
SLOW_SECONDS = 1.0


class Malicious(Mediator):
    """Passes a third on as they come; of the others, some twice, some late, and some never."""

    def __init__(self) -> None:
        super().__init__(Identity.make(), Limits(rate=1e4))
        self._random = random.Random(SEED)  # noqa: S311 - the same in each run
        self._held: list[bytes] = []
        self._old: list[bytes] = []

    def take(self, data: bytes, link: Link) -> None:
        """Take a message, or do with it as it likes."""
        if len(data) < 4500:  # what is for the mediator itself
            super().take(data, link)
            return
        self._old.append(data)
        choice = self._random.choice(["pass", "pass", "drop", "twice", "hold", "replay"])
        sys.stdout.write(f"{choice}\n")
        sys.stdout.flush()
        sent = {
            "pass": [data],
            "drop": [],
            "twice": [data, data],
            "hold": [],
            "replay": [data, self._random.choice(self._old)],
        }[choice]
        if choice == "hold":
            self._held.append(data)
        elif self._held and choice == "pass":
            sent = [data, *reversed(self._held)]
            self._held.clear()
        for each in sent:
            super().take(each, link)


class Slow(Mediator):
    """Passes on each message late."""

    def __init__(self) -> None:
        super().__init__(Identity.make(), Limits(rate=1e4))

    def take(self, data: bytes, link: Link) -> None:
        """Take a message, after a while."""
        asyncio.get_running_loop().call_later(SLOW_SECONDS, super().take, data, link)


async def main(port: int, kind: type[Malicious | Slow]) -> None:
    uri = f"http://127.0.0.1:{port}/"
    place = Place(host="127.0.0.1", port=port, uri=uri)
    async with serving(kind(), Limits(rate=1e4), place):
        sys.stdout.write(f"the mediator takes messages at {uri}\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), Slow if sys.argv[2:] == ["slow"] else Malicious))
