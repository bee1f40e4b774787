"""Many rounds of small messages: a number is opened again and again, each time after the last.

Nothing can run meanwhile: each opening waits for messages of other parties. So the time is that of
so many one-way trips between those that are farthest apart, and hardly depends on throughput.

    python rounds.py -M3 --openings 100

Takes `--openings` sequential rounds. In each, a party sends a field element to t others.
"""

import argparse
import json

from mpyc.runtime import mpc

HEADER_BYTES = 12
"""Of a message of MPyC 0.11: its number (8 bytes) and its length (4)."""


async def main() -> None:
    """Open a number so many times, and state what that takes."""
    parser = argparse.ArgumentParser(description="Open a number again and again.")
    parser.add_argument("--openings", type=int, default=100, metavar="K")
    openings = parser.parse_args().openings
    secint = mpc.SecInt(32)
    total = 0
    async with mpc:
        share = secint(1)
        for _ in range(openings):
            total += int(await mpc.output(share))
            share = share + 0
    print("opened:", total)
    # a share goes to the next t parties: that many others suffice to each
    message = HEADER_BYTES + secint.field.byte_length
    sent = openings * mpc.threshold * message
    stated = {"rounds": openings, "openings": openings, "bytes": sent}
    print("work:", json.dumps(stated))


if __name__ == "__main__":
    mpc.run(main())
