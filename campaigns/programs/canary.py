"""Messages that everybody can recognise: each party sends a text to all others, again and again.

An observer who finds the text can read the messages of a session. Nothing here is secret.

    python canary.py -M3 --seed 7 --seconds 2

The text is the SHA-256 of the seed in hexadecimal, so that the command line does not show it. Takes
at least two rounds; each sends some 4 KB to each other party.
"""

import argparse
import asyncio
import hashlib
import time

from mpyc.runtime import mpc

COPIES = 64
PAUSE_SECONDS = 0.05


async def main() -> None:
    """Send the text until the time is over, which party 0 decides."""
    parser = argparse.ArgumentParser(description="Send a text to all others, again and again.")
    parser.add_argument("--seed", required=True)
    parser.add_argument("--seconds", type=float, default=2.0)
    args = parser.parse_args()
    message = hashlib.sha256(args.seed.encode()).hexdigest() * COPIES
    rounds, more = 0, True
    async with mpc:
        end = time.monotonic() + args.seconds
        while more:
            await mpc.transfer(message)
            more = await mpc.transfer(time.monotonic() < end, senders=0)
            rounds += 1
            await asyncio.sleep(PAUSE_SECONDS)
    print("rounds:", rounds)


if __name__ == "__main__":
    mpc.run(main())
