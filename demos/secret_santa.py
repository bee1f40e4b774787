"""Secret Santa: a random permutation without fixed points, drawn by nobody.

Who gives a present to whom? Each of n players gets one present and gives one, to somebody
else. The permutation is uniformly random among all without a fixed point (derangements).
While it is drawn it is secret for every party: no coalition of fewer than half of the
parties can choose or predict it. At the end all learn the result. (To tell each player only
whom they give to, open to party i its own entry only: `mpc.output(santa[i], receivers=i)`.)

Each of t+1 parties shuffles in secret, one after the other, where t is the largest size of a
coalition (fewer than half of the parties). At least one of the t+1 parties is outside of any
such coalition, and its shuffle alone makes the result uniformly random.
One permutation in e = 2.718... has no fixed point, so several are drawn at a time: over
long distances rounds cost more than multiplications. To test one, the product of all
s[i] - i is opened after multiplication by a random number: zero, or nothing but "not zero".

Run it by hand with three parties on this machine:

    python secret_santa.py -M3
    python secret_santa.py -M3 --players 10
"""

import argparse
import random

from mpyc.runtime import mpc

FEWEST = 2
"""The fewest players: one alone has nobody to give to."""

AT_A_TIME = 6
"""Candidates drawn in parallel: in 6 % of the cases all have a fixed point."""


def arguments() -> argparse.Namespace:
    """Return the program's own options; MPyC has taken out its own."""
    parser = argparse.ArgumentParser(description="Draw a Secret Santa.")
    parser.add_argument(
        "-n",
        "--players",
        type=int,
        metavar="N",
        help="number of players, at least 2 (default: one a party, at least 4)",
    )
    options = parser.parse_args()
    if options.players is None:
        options.players = max(4, len(mpc.parties))
    if options.players < FEWEST:
        parser.error(f"--players {options.players}: one player alone has nobody to give to")
    return options


def secret_shuffles(sectype: type, n: int) -> list:
    """Return t+1 permutations of range(n), one of each of as many parties, as secret matrices.

    A permutation is a list of rows, each a unit vector: row i selects the entry that moves to i.
    """
    order = list(range(n))
    random.SystemRandom().shuffle(order)
    mine = [sectype(int(j == chosen)) for chosen in order for j in range(n)]
    shuffles = mpc.input(mine, senders=list(range(mpc.threshold + 1)))
    return [[entries[i : i + n] for i in range(0, n * n, n)] for entries in shuffles]


def random_permutation(sectype: type, n: int) -> list:
    """Return a uniformly random permutation of range(n), secret for all parties."""
    permutation = [sectype(i) for i in range(n)]
    for shuffle in secret_shuffles(sectype, n):
        permutation = [mpc.in_prod(row, permutation) for row in shuffle]
    return permutation


async def random_derangement(sectype: type, n: int) -> list:
    """Return a uniformly random permutation of range(n) without fixed points, secret for all."""
    while True:
        candidates = [random_permutation(sectype, n) for _ in range(AT_A_TIME)]
        fixed = [
            mpc.is_zero_public(mpc.prod([s - i for i, s in enumerate(candidate)]))
            for candidate in candidates
        ]
        for candidate, has_fixed_point in zip(candidates, await mpc.gather(fixed), strict=True):
            if not has_fixed_point:
                return candidate


async def main() -> None:
    """Draw a derangement and print it."""
    n = arguments().players
    # a prime field, larger than every entry, and than what Shamir's sharing needs
    sectype = mpc.SecFld(min_order=max(n, len(mpc.parties)) + 1)

    async with mpc:
        santa = [int(s) for s in await mpc.output(await random_derangement(sectype, n))]

    for giver, receiver in enumerate(santa):
        print(f"player {giver} gives to player {receiver}")
    print("santa:", santa)


if __name__ == "__main__":
    mpc.run(main())
