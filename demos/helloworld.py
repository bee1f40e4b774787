"""Hello, world: parties say hello, and add up numbers that they keep secret.

Each party has a number. All learn the sum, and nothing else about the numbers of the others:
with m parties, a coalition of fewer than m/2 learns no more than what its own numbers and the
sum tell it anyway.

Run it by hand with three parties on this machine:

    python helloworld.py -M3
    python helloworld.py -M3 --number 40
"""

import argparse

from mpyc.runtime import mpc


def arguments() -> argparse.Namespace:
    """Return the program's own options; MPyC has taken out its own."""
    parser = argparse.ArgumentParser(description="Add up numbers that stay secret.")
    parser.add_argument(
        "--number", type=int, metavar="N", help="this party's number (default: its pid plus 1)"
    )
    return parser.parse_args()


async def main() -> None:
    """Give a secret number, and print the sum of all."""
    number = arguments().number
    secint = mpc.SecInt(32)

    async with mpc:
        own = secint(mpc.pid + 1 if number is None else number)
        numbers = mpc.input(own)  # from here on each number is a share of it at every party
        total = await mpc.output(mpc.sum(numbers))

    print(f"Hello world from {len(mpc.parties)} parties, whose secret numbers add up to {total}!")


if __name__ == "__main__":
    mpc.run(main())
