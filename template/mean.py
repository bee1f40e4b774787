"""The mean of the parties' salaries: each party learns the mean, and of the others no more.

By hand: python mean.py -M3
"""

import random

from mpyc.runtime import mpc


async def main():
    """Each party's input is drawn at random here; a real one would read its own."""
    await mpc.start()
    secint = mpc.SecInt(64)
    salary = random.SystemRandom().randrange(20_000, 90_000)
    total = mpc.sum(mpc.input(secint(salary)))
    mean = await mpc.output(total) / len(mpc.parties)
    print(f"{len(mpc.parties)} parties earn {mean:.2f} in the mean")
    await mpc.shutdown()


mpc.run(main())
