"""What an inviter needs to go on after it was killed: kept while it waits, and removed at its end.

It is in a file that only the user can read, as it has the keys of the session's DID. Its name says
which process has it, as that of `e3.adhoc.scratch`.
"""

import contextlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from msgspec import Struct

from e3 import private
from e3.adhoc.scratch import is_of_the_dead, own_name
from e3.didcomm.errors import DidcommError
from e3.didcomm.keys import base64url, unbase64
from e3.didcomm.messages import Did, Identity
from e3.didcomm.session import invitation as invitations
from e3.didcomm.session.bodies import Epoch, Member, Proposal
from e3.didcomm.session.invitation import Invitation
from e3.didcomm.session.lobby import Lobby
from e3.errors import SessionError

FOLDER = "invited"
SUFFIX = ".json"


class Kept(Struct, frozen=True, kw_only=True):
    """An invitation, its keys, and who has come; they are ``closed`` if they had a roster."""

    link: str
    agreement: str
    signing: str
    proposal: Proposal
    expected: tuple[Did, ...] = ()
    members: tuple[Member, ...] = ()
    epoch: Epoch = 0
    closed: bool = False

    @property
    def invitation(self) -> Invitation:
        """The invitation that was made."""
        return invitations.read(self.link)

    @property
    def identity(self) -> Identity:
        """The session's DID, with its keys."""
        return Identity(
            did=self.invitation.did,
            agreement=X25519PrivateKey.from_private_bytes(unbase64(self.agreement)),
            signing=Ed25519PrivateKey.from_private_bytes(unbase64(self.signing)),
        )


def of(invitation: Invitation, identity: Identity, proposal: Proposal) -> Kept:
    """Return what is kept of a new invitation."""
    return Kept(
        link=invitations.link(invitation),
        agreement=base64url(identity.agreement.private_bytes_raw()),
        signing=base64url(identity.signing.private_bytes_raw()),
        proposal=proposal,
    )


@dataclass
class Keeper:
    """Writes what has changed."""

    path: Path
    last: Kept

    def note(self, lobby: Lobby) -> None:
        """Take note of who is there now."""
        now = msgspec.structs.replace(
            self.last, members=lobby.seated, epoch=lobby.epoch, closed=lobby.is_closed
        )
        if now != self.last:
            self.last = now
            self.write()

    def write(self) -> None:
        """Write it, whole or not at all."""
        private.write(self.path, msgspec.json.encode(self.last))


@contextmanager
def keeping(keeper: Keeper) -> Iterator[None]:
    """Keep it meanwhile."""
    keeper.write()
    try:
        yield
    finally:
        keeper.path.unlink(missing_ok=True)


def new(home: Path, first: Kept) -> Keeper:
    """Return what keeps a new invitation below ``home``; remove those that are over."""
    _interrupted(home)
    return Keeper(private.folder(home / FOLDER) / f"{own_name()}{SUFFIX}", first)


def take(home: Path) -> Keeper:
    """Return what keeps the newest invitation of a process that does not run any more.

    Until its end it belongs to this process; who is killed or fails before can take it once more.
    Older ones are forgotten. Raises `SessionError` if there is none that is still valid.
    """
    for path, kept_there in _interrupted(home):
        own = path.with_name(f"{own_name()}{SUFFIX}")
        with contextlib.suppress(FileNotFoundError):  # another process has taken it
            path.rename(own)
            for older, _ in _interrupted(home):
                older.unlink(missing_ok=True)
            return Keeper(own, kept_there)
    raise SessionError("no invitation of yours was interrupted that is still valid")


def _interrupted(home: Path) -> list[tuple[Path, Kept]]:
    """Return those of processes that do not run any more, the newest first; remove invalid ones."""
    found: list[tuple[float, Path, Kept]] = []
    for path in (home / FOLDER).glob(f"*{SUFFIX}"):
        if not is_of_the_dead(path.name.removesuffix(SUFFIX)):
            continue
        try:
            read = msgspec.json.decode(path.read_bytes(), type=Kept)
            read.invitation.require_valid(time.time())
            found.append((path.stat().st_mtime, path, read))
        except FileNotFoundError:  # another process has taken it
            continue
        except (OSError, msgspec.DecodeError, UnicodeDecodeError, DidcommError):
            path.unlink(missing_ok=True)
    found.sort(key=lambda each: each[0], reverse=True)
    return [(path, read) for _, path, read in found]
