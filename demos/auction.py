"""Second-price auction: the highest of sealed bids wins, and pays the second highest.

In William Vickrey's auction nobody gains by bidding anything but what the item is worth to
them: the winner pays what the next bidder would have paid. But bidders must trust whoever
opens the bids. Here nobody opens them: bids are secret-shared among the parties. All learn
who wins and the price; the winning bid, and the order of all others, stay secret. Among
equal highest bids the first bidder wins, at that price.

Each party places its own bid, which is its private input:

    python auction.py -P host0:11365 -P host1:11366 -P host2:11367 -I 0 --bid 310

Without `--bid` a party bids at random. With `--bids N` there are N bidders, whose bids the
parties hold in turn. `--seed` is for tests: it makes the bids the same in each run, and known
to all who know the seed. With three parties on this machine:

    python auction.py -M3
    python auction.py -M3 --bids 20 --seed 7
"""

import argparse
import random

from mpyc.runtime import mpc

HIGHEST = 1000
"""The highest possible bid."""

FEWEST = 2
"""The fewest bidders: the price is the second highest bid."""


def arguments() -> argparse.Namespace:
    """Return the program's own options; MPyC has taken out its own."""
    parser = argparse.ArgumentParser(description="Sell to the highest bidder at the second price.")
    parser.add_argument(
        "--bids", type=int, metavar="N", help="number of bidders (default: one a party, at least 2)"
    )
    parser.add_argument(
        "--bid", type=int, metavar="B", help=f"this party's bid (default: random, up to {HIGHEST})"
    )
    parser.add_argument("--seed", type=int, help="make random bids the same in each run")
    options = parser.parse_args()
    if options.bids is None:
        options.bids = max(2, len(mpc.parties))
    if options.bids < FEWEST:
        parser.error(
            f"--bids {options.bids}: choose at least {FEWEST}, the price is the second highest bid"
        )
    if options.bid is not None and not 0 <= options.bid <= HIGHEST:
        parser.error(f"--bid {options.bid}: choose 0 to {HIGHEST}")
    return options


def own_bid(options: argparse.Namespace, bidder: int) -> int:
    """Return what one bidder of this party bids."""
    if options.bid is not None:
        return options.bid
    if options.seed is not None:
        return random.Random(f"{options.seed}/{bidder}").randint(0, HIGHEST)  # noqa: S311 -- not secret
    return random.SystemRandom().randint(0, HIGHEST)


def seal(secint: type, options: argparse.Namespace) -> list:
    """Return all bids, each secret-shared by the party that holds it; no party sees another's."""
    m = len(mpc.parties)
    rounds = range(0, options.bids, m)
    # every party shares one bid a round, bidders beyond the last one are left out
    mine = [secint(own_bid(options, first + mpc.pid)) for first in rounds]
    return [bid for bids in zip(*mpc.input(mine), strict=True) for bid in bids][: options.bids]


def sell(bids: list) -> tuple:
    """Return the winner's index and the price, both secret.

    All pairs are compared at once: over long distances rounds cost more than comparisons.
    """
    bidders = range(len(bids))
    beats = {(i, j): bids[i] >= bids[j] for i in bidders for j in bidders if i < j}
    beats |= {(j, i): 1 - beaten for (i, j), beaten in beats.items()}
    wins = [mpc.all([beats[i, j] for j in bidders if j != i]) for i in bidders]
    # the second beats all but the winner; "or" is a sum here, since nobody beats the winner
    second = [mpc.all([beats[i, j] + wins[j] for j in bidders if j != i]) for i in bidders]
    winner = mpc.sum([i * wins[i] for i in bidders])
    price = mpc.in_prod([second[i] - wins[i] for i in bidders], bids)
    return winner, price


async def main() -> None:
    """Hold an auction, and print who wins at which price."""
    options = arguments()
    secint = mpc.SecInt(HIGHEST.bit_length() + 1)

    async with mpc:
        winner, price = await mpc.output(list(sell(seal(secint, options))))

    print(f"bidder {winner} of {options.bids} wins and pays {price}")


if __name__ == "__main__":
    mpc.run(main())
