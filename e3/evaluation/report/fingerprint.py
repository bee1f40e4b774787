"""Whether an observer of the wire recognises MPC: a classifier over sizes and times of packets.

The observer knows the place: a linear classifier with least squares and a penalty (ridge) learns
the observations of a cell but one, and is asked about that one; so with each. It sees encrypted
packets as everybody on the way does.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from e3.evaluation.observations import ObservationRecord, Traffic
from e3.evaluation.report.study import Cell, Study

FEWEST = 4
"""Observations of each class; with fewer nothing is said."""

PENALTY = 1.0
"""On the weights of figures that have one spread: what scikit-learn has by default."""

CONFIDENCE = 0.95

Label = Callable[[ObservationRecord], str | None]
"""What is to be recognised of an observation; None if it is not asked about."""


@dataclass(frozen=True, kw_only=True)
class Recognition:
    """How often a question was answered rightly about observations that were not trained on.

    ``chance`` is the share that whoever always says the most frequent answer gets right. ``low``
    and ``high`` bound the share of right answers with `CONFIDENCE` (Wilson). ``samples`` is 0 if
    there were too few.
    """

    cell: Cell
    question: str
    classes: Sequence[str]
    samples: int
    right: int
    chance: float
    low: float
    high: float

    @property
    def share(self) -> float:
        """The share of right answers."""
        return self.right / self.samples if self.samples else 0.0

    @property
    def better(self) -> bool:
        """Whether it is surely better than chance."""
        return self.samples > 0 and self.low > self.chance


class MissingError(Exception):
    """scikit-learn is not installed."""


def recognitions(study: Study) -> Sequence[Recognition]:
    """Return how well each question is answered in each observed cell.

    Raises `MissingError` without scikit-learn, which only this needs.
    """
    groups = {program.id: program.group for program in study.campaign.programs}
    questions: Sequence[tuple[str, Label]] = (
        ("Does MPC run?", lambda one: "session" if one.what == "session" else "other"),
        ("How many parties?", lambda one: str(one.parties) if one.what == "session" else None),
        ("Which program?", lambda one: groups.get(one.program)),
    )
    return [
        _recognise(cell, question, seen, label)
        for name, cell in study.cells.items()
        if (seen := [one for one in study.observations if one.cell == name and _usable(one)])
        for question, label in questions
    ]


def _usable(record: ObservationRecord) -> bool:
    return record.what not in {"canary", "attack"} and not record.reason


def _recognise(
    cell: Cell, question: str, seen: Sequence[ObservationRecord], label: Label
) -> Recognition:
    labelled = [(one, told) for one in seen if (told := label(one)) is not None]
    counts = Counter(told for _, told in labelled)
    known = {told for told, count in counts.items() if count >= FEWEST}
    labelled = [(one, told) for one, told in labelled if told in known]
    if len(known) < 2:  # noqa: PLR2004 -- one answer alone is no question
        return Recognition(
            cell=cell, question=question, classes=sorted(known), samples=0, right=0, chance=0.0,
            low=0.0, high=1.0,
        )  # fmt: skip
    figures = np.array([features(one.traffic) for one, _ in labelled])
    answers = np.array([sorted(known).index(told) for _, told in labelled])
    right = int(np.count_nonzero(_predicted(figures, answers) == answers))
    samples = len(labelled)
    low, high = wilson(right, samples)
    return Recognition(
        cell=cell,
        question=question,
        classes=sorted(known),
        samples=samples,
        right=right,
        chance=max(counts[told] for told in known) / samples,
        low=low,
        high=high,
    )


def features(traffic: Traffic | None) -> list[float]:
    """Return the figures of packets as numbers of similar size; zeros where nothing was sent."""
    numbers: list[float] = []
    for name in Traffic.__struct_fields__:
        value = getattr(traffic, name) if traffic is not None else None
        if name in {"size_bytes", "gap_ms"}:
            numbers += value if value is not None else [0.0] * 5
        else:
            numbers.append(float(value or 0.0))
    return [float(np.log1p(number)) for number in numbers]


def _predicted(figures: NDArray[np.float64], answers: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return the answer about each observation of the classifier that learnt all others."""
    try:
        from sklearn.linear_model import RidgeClassifierCV  # noqa: PLC0415 -- optional, and slow
        from sklearn.preprocessing import StandardScaler  # noqa: PLC0415 -- the same
    except ModuleNotFoundError as error:
        raise MissingError from error
    # one fit has them all: to leave one out has a closed form for least squares
    ridge = RidgeClassifierCV(alphas=[PENALTY], scoring="accuracy", store_cv_results=True)
    ridge.fit(StandardScaler().fit_transform(figures), answers)
    votes: NDArray[np.float64] = ridge.cv_results_[..., 0]
    if answers.max() == 1:  # of two answers it tells one number
        return (votes.reshape(len(answers)) > 0).astype(np.intp)
    most: NDArray[np.intp] = votes.argmax(axis=1)
    return most


def wilson(right: int, samples: int) -> tuple[float, float]:
    """Return the bounds of a share by Wilson (1927), at 95 %."""
    z = 1.959964
    share, spread = right / samples, z * z / samples
    middle = (share + spread / 2) / (1 + spread)
    half = z / (1 + spread) * np.sqrt(share * (1 - share) / samples + spread / 4 / samples)
    return float(max(0.0, middle - half)), float(min(1.0, middle + half))
