"""Holders who have entered a ceremony, and how all of them are asked one thing at once."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from e3.authority.joint.errors import CeremonyError
from e3.authority.joint.messages import (
    Answer,
    Ask,
    Complained,
    Envelope,
    Failed,
    Greeted,
    Hello,
    Refused,
    Spoken,
)
from e3.ceremonies.verdicts import CeremonyFailedError, CeremonyVerdict
from e3.ceremonies.voices import Voice
from e3.errors import HostError
from e3.remote.tasks import each_to_its_end
from e3.remote.text import printable

A = TypeVar("A", bound=Answer)


@dataclass(frozen=True, kw_only=True)
class Guest:
    """A holder that has entered: how to ask it, what it said, and its hello."""

    voice: Voice
    said: Greeted
    hello: Hello


async def ask_all(
    guests: Mapping[int, Guest],
    request: Callable[[int], Ask],
    kind: type[A] | tuple[type[A], ...],
) -> dict[int, A]:
    """Ask each its request at once; return the answers by number, or raise the first failure.

    What proves most comes first: a cheat before a refusal, that before a silence. A refusal names
    all who refuse.
    """
    failures: list[CeremonyFailedError] = []
    answers: dict[int, A] = {}
    names = {number: guest.voice.name for number, guest in guests.items()}

    async def one(number: int, guest: Guest) -> None:
        name = guest.voice.name
        try:
            answers[number] = expect(name, await guest.voice.ask(request(number)), kind, names)
        except CeremonyFailedError as error:
            failures.append(error)
        except (HostError, TimeoutError) as error:
            failures.append(CeremonyFailedError(CeremonyVerdict.SILENT, str(error), [name]))

    await each_to_its_end(one(number, guest) for number, guest in guests.items())
    if failures:
        order = list(CeremonyVerdict)
        first = (CeremonyVerdict.CHEATED, CeremonyVerdict.DISPUTED)
        worst = min(failures, key=lambda one: (one.verdict not in first, -order.index(one.verdict)))
        raise _of_all(worst, failures) if worst.verdict is CeremonyVerdict.REFUSED else worst
    return dict(sorted(answers.items()))


def _of_all(
    refusal: CeremonyFailedError, failures: Sequence[CeremonyFailedError]
) -> CeremonyFailedError:
    """Return a refusal that names all who refuse, and by which rules."""
    refusals = [one for one in failures if one.verdict is refusal.verdict]
    return CeremonyFailedError(
        refusal.verdict,
        str(refusal),
        [name for one in refusals for name in one.culprits],
        rules=frozenset[str]().union(*(one.rules for one in refusals)),
    )


def said_by(answers: Mapping[int, Spoken], names: Mapping[int, str]) -> list[Envelope]:
    """Return what each said to all; raise `CeremonyFailedError` if one speaks as another."""
    for number, answer in answers.items():
        if answer.envelope.sender != number:
            name = names[number]
            raise CeremonyFailedError(
                CeremonyVerdict.CHEATED, f"{name} speaks in the name of another holder", [name]
            )
    return [answer.envelope for answer in answers.values()]


def expect(
    name: str,
    said: Answer,
    kind: type[A] | tuple[type[A], ...],
    names: Mapping[int, str] | None = None,
) -> A:
    """Return an answer of this kind; raise `CeremonyFailedError` for any other."""
    if isinstance(said, kind):
        return said
    known = names or {}
    match said:
        case Refused():
            raise CeremonyFailedError(
                CeremonyVerdict.REFUSED,
                f"{name} refuses ({said.rule}): {printable(said.reason)}",
                [name],
                rules=frozenset({said.rule}),
            )
        case Complained():
            accused = known.get(said.dealer, f"holder {said.dealer}")
            raise CeremonyFailedError(
                CeremonyVerdict.DISPUTED,
                f"{name} accuses {accused}: {printable(said.reason)}",
                [name, accused],
                accuser=name,
            )
        case Failed(culprits=[]):
            raise CeremonyFailedError(
                CeremonyVerdict.FAILED, f"{name}: {printable(said.reason)}", [name]
            )
        case Failed():
            culprits = [known.get(one, f"holder {one}") for one in said.culprits]
            raise CeremonyFailedError(
                CeremonyVerdict.DISPUTED,
                f"{name} accuses {', '.join(culprits)}: {printable(said.reason)}",
                [name, *culprits],
                accuser=name,
            )
    raise CeremonyFailedError(CeremonyVerdict.FAILED, f"{name} answers something else", [name])


def blame(error: CeremonyError, names: Mapping[int, str]) -> CeremonyFailedError:
    """Return an error of our own checks with the names of those whose words are wrong."""
    culprits = [names.get(one, f"holder {one}") for one in error.culprits]
    verdict = CeremonyVerdict.CHEATED if culprits else CeremonyVerdict.FAILED
    who = f"{', '.join(culprits)}: " if culprits else ""
    return CeremonyFailedError(verdict, f"{who}{printable(error)}", culprits)
