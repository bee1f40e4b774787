"""Secret Santa with the same work in each run: many rounds of small messages.

demos/secret_santa.py draws until a permutation has no fixed point, so that its time is random, and
times of few runs say little about networks. This program draws one fixed number of candidates in
any case, and takes the first without a fixed point; in one of two thousand runs there is none. How
a candidate is drawn, and what stays secret, is said there.

    python secret_santa.py -M3 --players 6

The parties shuffle one after another: t+1 rounds of input and products, then a product over all
players, of log2(players) rounds, and one opening of all tests. The permutation is opened last.
"""

import argparse
import json
import random

from mpyc.runtime import mpc

CANDIDATES = 16
"""Candidates drawn at once: each has no fixed point with a chance of 37 %."""

FIELD = 2**61 - 1
"""A large prime: in a small field MPyC's test for zero takes a random number of rounds."""


def shuffles(sectype: type, n: int) -> list:
    """Return t+1 secret permutation matrices, one of each of as many parties, as lists of rows."""
    order = list(range(n))
    random.SystemRandom().shuffle(order)
    mine = [sectype(int(j == chosen)) for chosen in order for j in range(n)]
    given = mpc.input(mine, senders=list(range(mpc.threshold + 1)))
    return [[entries[i : i + n] for i in range(0, n * n, n)] for entries in given]


def permutation(sectype: type, n: int) -> list:
    """Return a uniformly random permutation of range(n), secret for all parties."""
    drawn = [sectype(i) for i in range(n)]
    for shuffle in shuffles(sectype, n):
        drawn = [mpc.in_prod(row, drawn) for row in shuffle]
    return drawn


async def main() -> None:
    """Draw a derangement with a fixed amount of work, and state what that took."""
    parser = argparse.ArgumentParser(description="Draw a Secret Santa, with the same work always.")
    parser.add_argument("-n", "--players", type=int, default=6, metavar="N")
    n = parser.parse_args().players
    sectype = mpc.SecFld(FIELD)
    async with mpc:
        candidates = [permutation(sectype, n) for _ in range(CANDIDATES)]
        tests = [
            mpc.is_zero_public(mpc.prod([s - i for i, s in enumerate(candidate)]))
            for candidate in candidates
        ]
        fixed = await mpc.gather(tests)
        chosen = fixed.index(0) if 0 in fixed else 0
        santa = [int(s) for s in await mpc.output(candidates[chosen])]
        sent = sum(peer.protocol.nbytes_sent for peer in mpc.parties if peer.pid != mpc.pid)
    print("santa:", santa)
    # input and a product for each shuffle, products in pairs, the test, the opening
    rounds = 1 + (mpc.threshold + 1) + (n - 1).bit_length() + 1 + 1
    print("work:", json.dumps({"rounds": rounds, "bytes": sent}))


if __name__ == "__main__":
    mpc.run(main())
