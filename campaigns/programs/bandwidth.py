"""One round of large messages: a long vector of secret-shared numbers is opened at once.

The time is that of so many bytes, and hardly depends on round trips. The numbers have a thousand
bits each, so that computing takes little beside sending.

    python bandwidth.py -M3 --kilobytes 1000

Takes one round, in which each party sends so many kilobytes to each of t others.
"""

import argparse
import json

from mpyc.runtime import mpc

BITS = 1000
HEADER_BYTES = 12
"""Of a message of MPyC 0.11: its number (8 bytes) and its length (4)."""


async def main() -> None:
    """Open a vector, and state what that takes."""
    parser = argparse.ArgumentParser(description="Open a long vector.")
    parser.add_argument("--kilobytes", type=int, default=1000, metavar="K")
    kilobytes = parser.parse_args().kilobytes
    secint = mpc.SecInt(BITS)
    size = secint.field.byte_length
    length = max(1, 1000 * kilobytes // size)
    # the largest number: MPyC sends leading zeros of a vector, too, but computes less with them
    vector = [secint(2 ** (BITS - 1) - 1 - i) for i in range(length)]
    async with mpc:
        opened = await mpc.output(vector)
    print("opened:", length, "numbers, of which the last has", int(opened[-1]).bit_length(), "bits")
    sent = mpc.threshold * (HEADER_BYTES + length * size)
    stated = {"rounds": 1, "openings": 1, "bytes": sent}
    print("work:", json.dumps(stated))


if __name__ == "__main__":
    mpc.run(main())
