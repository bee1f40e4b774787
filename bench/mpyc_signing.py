"""Sign by MPyC's own arithmetic, for comparison: passive security, and every party has to be there.

    PYTHONPATH=. python bench/mpyc_signing.py -M5

The key and each nonce are random elements that MPyC makes without interaction; a signature is
``r + c * x``, opened. Points are libsodium's, as in the joint authority. Party 0 prints JSON.
"""

import json
import sys
import time
from collections.abc import Sequence
from typing import Any

from mpyc.runtime import mpc
from nacl.signing import VerifyKey

from e3.authority.joint.ed25519 import (
    ORDER,
    Point,
    base_times,
    hash_to_scalar,
    interpolation,
    points_plus,
    scalar_of,
    times,
)

BATCHES = (1, 50)
Shared = Any  # an element of FIELD, whose class MPyC makes at run time
FIELD = mpc.SecFld(modulus=ORDER)


async def public_points(secrets: Sequence[Shared]) -> list[Point]:
    """Return shared secrets times the base point: the sum of what each party's share adds."""
    shares = await mpc.gather(list(secrets))
    everybody = range(1, len(mpc.parties) + 1)
    weight = interpolation(mpc.pid + 1, everybody)
    mine = [base_times(times(weight, scalar_of(int(share)))) for share in shares]
    return [points_plus(column) for column in zip(*await mpc.transfer(mine), strict=True)]


async def sign(key: Shared, public_key: Point, messages: Sequence[bytes]) -> list[bytes]:
    """Return the signature of each message."""
    nonces = mpc._randoms(FIELD, len(messages))  # noqa: SLF001 - MPyC has no other name for it
    points = await public_points(nonces)
    challenges = [
        int.from_bytes(hash_to_scalar(point, public_key, message), "little")
        for point, message in zip(points, messages, strict=True)
    ]
    sums = [nonce + each * key for nonce, each in zip(nonces, challenges, strict=True)]
    opened = await mpc.output(sums)
    return [point + scalar_of(int(each)) for point, each in zip(points, opened, strict=True)]


async def main() -> None:
    """Make a key, sign batches, check them, and print the milliseconds of each."""
    await mpc.start()
    took = {}
    began = time.perf_counter()
    key = mpc._random(FIELD)  # noqa: SLF001 - the same
    (public_key,) = await public_points([key])
    took["key"] = time.perf_counter() - began
    for size in BATCHES:
        messages = [b"message %d" % number for number in range(size)]
        await mpc.barrier()
        began = time.perf_counter()
        made = await sign(key, public_key, messages)
        took[str(size)] = time.perf_counter() - began
        for message, signature in zip(messages, made, strict=True):
            VerifyKey(public_key).verify(message, signature)
    if mpc.pid == 0:
        print(json.dumps({name: round(1000 * seconds, 2) for name, seconds in took.items()}))
    await mpc.shutdown()


if __name__ == "__main__":
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    mpc.run(main())
