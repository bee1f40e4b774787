"""A convolutional network classifies handwritten digits: few rounds of large messages.

One party has the network, another has the images. Nobody else learns either, and all learn which
digit each image shows. The network has a convolution of 4 filters over windows of 3 x 3 pixels,
squares, sums over 2 x 2 positions, a dense layer, and takes the largest of 10 scores. All numbers
are whole, so it computes exactly what it computes in clear, which the program compares.

    python main.py -M3 --images 10

The weights come from campaigns/training/train_digits.py. Both files lie beside the program, which
is a measurement and no service: in earnest each owner would have its own alone.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from mpyc.runtime import mpc

HERE = Path(__file__).parent
SIDE, WINDOW, DIGITS = 8, 3, 10
POSITIONS = SIDE - WINDOW + 1
POOLED = POSITIONS // 2
BITS = 32
"""Of the largest number: scores take 29."""

ROUNDS = 43
"""Input, three products, four levels of comparisons, and output: the slope of the time over the
delay between three equally distant parties."""

PIXELS = np.array(
    [
        [(row + i) * SIDE + column + j for i in range(WINDOW) for j in range(WINDOW)]
        for row in range(POSITIONS)
        for column in range(POSITIONS)
    ]
)
"""The pixels of each window, by its position."""


def read(name: str) -> dict[str, np.ndarray]:
    """Return the arrays of a file beside the program."""
    return {key: np.array(value) for key, value in json.loads((HERE / name).read_text()).items()}


def scores(images, network):  # noqa: ANN001, ANN201 -- arrays in clear, and secret ones
    """Return the scores of each digit by image; in clear and under MPC alike."""
    count, filters = images.shape[0], network["filters"].shape[1]
    rows = images[:, PIXELS].reshape(count * POSITIONS**2, WINDOW**2)
    convolved = rows @ network["filters"] + network["bias"]
    squares = (convolved * convolved).reshape(count * POOLED, 2, POOLED, 2 * filters)
    across = squares[:, 0] + squares[:, 1]
    pooled = across[:, :, :filters] + across[:, :, filters:]
    return pooled.reshape(count, POOLED**2 * filters) @ network["dense"] + network["offset"]


async def main() -> None:
    """Classify images under MPC and in clear, and state what the former takes."""
    parser = argparse.ArgumentParser(description="Classify handwritten digits.")
    parser.add_argument("--images", type=int, default=10, metavar="N", help="1 to 100")
    count = parser.parse_args().images
    network, test = read("weights.json"), read("images.json")
    images, labels = test["images"][:count], test["labels"][:count]
    clear = scores(images, network).argmax(axis=1)
    secint = mpc.SecInt(BITS)
    owner = min(1, len(mpc.parties) - 1)
    async with mpc:
        secret = {
            name: mpc.input(secint.array(values), senders=0) for name, values in network.items()
        }
        found = scores(mpc.input(secint.array(images), senders=owner), secret)
        digits = await mpc.output(mpc.np_argmax(found, axis=1))
        sent = sum(peer.protocol.nbytes_sent for peer in mpc.parties if peer.pid != mpc.pid)
    seen = np.array([int(digit) for digit in digits])
    print(f"right in clear: {(clear == labels).sum()} of {count}")
    print(f"right under MPC: {(seen == labels).sum()} of {count}")
    print("the same digits:", bool((seen == clear).all()))
    print("work:", json.dumps({"rounds": ROUNDS, "bytes": sent}))


if __name__ == "__main__":
    mpc.run(main())
