"""Train the network of campaigns/programs/digits, and write its weights and test images.

Needs scikit-learn for its data set alone, the digits of Alpaydin and Kaynak (UCI, 1998): 1797
images of 8 x 8 pixels from 0 to 16. Everything else is NumPy.

    pip install scikit-learn numpy
    python campaigns/training/train_digits.py

The weights become small integers, so that the network computes exactly the same in clear and under
MPC. Of the images a fifth is kept for testing, and a hundred of these are written.
"""

import json
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

PROGRAM = Path(__file__).resolve().parents[1] / "programs" / "digits"
SEED = 15
FILTERS, SIDE, WINDOW = 4, 8, 3
POSITIONS = SIDE - WINDOW + 1
POOLED = POSITIONS // 2
EPOCHS, BATCH, RATE = 200, 64, 2e-3
FILTER_SCALE, DENSE_SCALE = 16, 64
SHOWN = 100


def windows(images):
    """Return each window of each image as a row: (images, positions, pixels)."""
    view = np.lib.stride_tricks.sliding_window_view(images, (WINDOW, WINDOW), axis=(1, 2))
    return view.reshape(len(images), POSITIONS**2, WINDOW**2)


def pool(values):
    """Add up squares of 2 x 2 positions: (images, pooled positions times filters)."""
    grid = values.reshape(len(values), POOLED, 2, POOLED, 2, FILTERS)
    return grid.sum(axis=(2, 4)).reshape(len(values), -1)


def spread(gradient):
    """Return the gradient of `pool`."""
    grid = gradient.reshape(len(gradient), POOLED, 1, POOLED, 1, FILTERS)
    whole = np.broadcast_to(grid, (len(gradient), POOLED, 2, POOLED, 2, FILTERS))
    return whole.reshape(len(gradient), POSITIONS**2, FILTERS)


def forward(rows, weights):
    """Return what each layer computes: convolution, squares, scores."""
    convolved = rows @ weights["filters"] + weights["bias"]
    pooled = pool(convolved**2)
    return convolved, pooled, pooled @ weights["dense"] + weights["offset"]


def train(images, labels, chance):
    """Return weights that Adam found for the cross entropy."""
    weights = {
        "filters": chance.normal(0, 0.3, (WINDOW**2, FILTERS)),
        "bias": np.zeros(FILTERS),
        "dense": chance.normal(0, 0.05, (POOLED**2 * FILTERS, 10)),
        "offset": np.zeros(10),
    }
    first = {name: np.zeros_like(value) for name, value in weights.items()}
    second = {name: np.zeros_like(value) for name, value in weights.items()}
    rows, step = windows(images), 0
    for _ in range(EPOCHS):
        for batch in np.array_split(chance.permutation(len(rows)), len(rows) // BATCH):
            step += 1
            convolved, pooled, scores = forward(rows[batch], weights)
            odds = np.exp(scores - scores.max(axis=1, keepdims=True))
            error = odds / odds.sum(axis=1, keepdims=True)
            error[np.arange(len(batch)), labels[batch]] -= 1
            error /= len(batch)
            back = 2 * convolved * spread(error @ weights["dense"].T)
            gradients = {
                "filters": np.einsum("npk,npf->kf", rows[batch], back),
                "bias": back.sum(axis=(0, 1)),
                "dense": pooled.T @ error + 1e-4 * weights["dense"],
                "offset": error.sum(axis=0),
            }
            for name, gradient in gradients.items():
                first[name] = 0.9 * first[name] + 0.1 * gradient
                second[name] = 0.999 * second[name] + 0.001 * gradient**2
                mean, spread_ = first[name] / (1 - 0.9**step), second[name] / (1 - 0.999**step)
                weights[name] -= RATE * mean / (np.sqrt(spread_) + 1e-8)
    return weights


def whole(weights):
    """Return the weights as integers, for images of pixels from 0 to 16."""
    scale = 16 * FILTER_SCALE  # of what the convolution yields
    return {
        "filters": np.rint(weights["filters"] * FILTER_SCALE).astype(int),
        "bias": np.rint(weights["bias"] * scale).astype(int),
        "dense": np.rint(weights["dense"] * DENSE_SCALE).astype(int),
        "offset": np.rint(weights["offset"] * DENSE_SCALE * scale**2).astype(int),
    }


def main():
    """Train, and write what the program reads."""
    digits = load_digits()
    chance = np.random.default_rng(SEED)
    order = chance.permutation(len(digits.images))
    kept = len(order) // 5
    test, rest = order[:kept], order[kept:]
    found = whole(train(digits.images[rest] / 16, digits.target[rest], chance))
    scores = forward(windows(digits.images[test].astype(int)), found)[2]
    right = (scores.argmax(axis=1) == digits.target[test]).mean()
    bits = int(np.abs(scores).max()).bit_length()
    print(f"right in clear: {right:.1%} of {kept} test images; scores take {bits} bits")
    content = {name: value.tolist() for name, value in found.items()}
    (PROGRAM / "weights.json").write_text(json.dumps(content, separators=(",", ":")) + "\n")
    shown = test[:SHOWN]
    images = {
        "images": digits.images[shown].astype(int).reshape(SHOWN, -1).tolist(),
        "labels": digits.target[shown].tolist(),
    }
    (PROGRAM / "images.json").write_text(json.dumps(images, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
