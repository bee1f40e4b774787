"""What a holder keeps on its host: its key, and its share of each key, in files for root alone.

    identity                    the host's own key, by which other holders know it
    log                         what it helped to make and sign (`e3.authority.joint.log`)
    <purpose>/share             the share in use
    <purpose>/pending           a share that is prepared, and not in use yet
    <purpose>/transcript        the digest of all that it saw, for its owner to compare
    <purpose>/recorded          which share in use is in the log
    <purpose>/certificate       the authority's certificate, once it is signed

A share is prepared first, by every holder; then each replaces its old one. Files are written
aside, synchronised, and renamed: after a crash there is the old share, the new one, or both.
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
from nacl.signing import SigningKey

from e3 import private
from e3.authority.joint.ed25519 import GroupError, Scalar, base_times, scalar
from e3.authority.joint.errors import CeremonyError
from e3.authority.joint.messages import (
    MOST_HOLDERS,
    Archived,
    Body,
    Bytes32,
    Envelope,
    Header,
    Identifier,
    decode,
    encode,
)
from e3.authority.joint.rest import PLAIN, Sealed, open_sealed, seal_at_rest

FILE_BYTES = 4_000_000


class StoreError(CeremonyError):
    """A file of a holder is damaged, or in use."""


class Held(Body, frozen=True, kw_only=True):
    """A share and what belongs to it.

    ``context`` is the digest of the ceremony that made it, ``view`` that of all that was said in
    it, and ``prepared`` what each holder said of it; complete once it is in use.
    """

    header: Header
    identifier: Identifier
    share: Bytes32
    context: Bytes32
    view: Bytes32
    prepared: list[Envelope] = msgspec.field(default_factory=list)

    def __repr__(self) -> str:
        """Return which share it is, and not the share."""
        return f"Held({self.header.purpose}, epoch {self.header.epoch}, {self.identifier})"


class Store:
    """The files of one holder in a folder; which hosts keep in memory only where they can."""

    def __init__(self, folder: Path) -> None:
        """Use ``folder``, which is made when there is something to keep."""
        self._folder = folder

    def identity(self) -> SigningKey:
        """Return the host's own key; make it if there is none."""
        path = self._folder / "identity"
        with contextlib.suppress(FileNotFoundError):
            return SigningKey(self._read(path))
        private.folder(self._folder)
        aside = path.with_name(f".identity.{os.urandom(4).hex()}")
        _keep(aside, encode(seal_at_rest(bytes(SigningKey.generate()), "identity")))
        with contextlib.suppress(FileExistsError):  # another ceremony has just made one
            os.link(aside, path)
        aside.unlink()
        _synchronise(self._folder)
        return SigningKey(self._read(path))

    def held(self, purpose: str) -> Held | None:
        """Return the share in use; raise `StoreError` if it is not the one that it should be."""
        return self._load(self._folder / purpose / "share")

    def pending(self, purpose: str) -> Held | None:
        """Return the share that is prepared."""
        return self._load(self._folder / purpose / "pending")

    def prepare(self, held: Held) -> None:
        """Keep a share that is not in use yet; raise `StoreError` if it could not be used."""
        folder = private.folder(self._folder / held.header.purpose)
        _keep_alone(folder / "pending", encode(seal_at_rest(encode(held), "share")))
        if self.pending(held.header.purpose) != held:
            raise StoreError("the share that was prepared cannot be read again")

    def commit(self, held: Held) -> None:
        """Use a share from now on; forget the one before."""
        folder = self._folder / held.header.purpose
        _keep_alone(folder / "share", encode(seal_at_rest(encode(held), "share")))
        _keep(folder / "transcript", f"{held.header.transcript.hex()}\n".encode())
        (folder / "pending").unlink(missing_ok=True)
        _synchronise(folder)

    def recorded(self, held: Held) -> bool:
        """Return whether the log has it that this share is in use."""
        path = self._folder / held.header.purpose / "recorded"
        return path.is_file() and path.read_bytes() == held.context

    def record(self, held: Held) -> None:
        """Remember that the log has it."""
        _keep(self._folder / held.header.purpose / "recorded", held.context)

    def certificate(self, purpose: str) -> Archived | None:
        """Return the authority's own certificate, if it is archived."""
        path = self._folder / purpose / "certificate"
        try:
            return decode(path.read_bytes(), Archived)
        except FileNotFoundError:
            return None
        except msgspec.MsgspecError as error:
            raise StoreError(f"{path.name} is damaged: {error}") from None

    def archive(self, purpose: str, certificate: Archived) -> None:
        """Keep the authority's certificate, once and for all."""
        _keep(self._folder / purpose / "certificate", encode(certificate))

    def revoked(self, purpose: str) -> frozenset[int]:
        """Return the places of credentials that this holder has helped to revoke."""
        path = self._folder / purpose / "revoked"
        try:
            return decode(path.read_bytes(), frozenset[int])
        except FileNotFoundError:
            return frozenset()
        except msgspec.MsgspecError as error:
            raise StoreError(f"{path.name} is damaged: {error}") from None

    def revoke(self, purpose: str, places: frozenset[int]) -> None:
        """Remember that these are revoked, for good."""
        known = self.revoked(purpose)
        if not places <= known:
            data = msgspec.json.encode(sorted(known | places))
            _keep(self._folder / purpose / "revoked", data)

    def forget(self, purpose: str) -> None:
        """Remove what there is of a key; with the last one, remove the host's own key."""
        import shutil  # noqa: PLC0415 -- no other step needs it, and each holder begins anew

        shutil.rmtree(self._folder / purpose, ignore_errors=True)
        if self._folder.is_dir() and not any(each.is_dir() for each in self._folder.iterdir()):
            shutil.rmtree(self._folder)

    @property
    def log(self) -> Path:
        """The file of the log."""
        return self._folder / "log"

    def sealed(self, purpose: str) -> str:
        """Return how the host's key and its shares are encrypted at rest; plain if one is not."""
        folder = self._folder / purpose
        ways = set()
        for path in (self._folder / "identity", folder / "share", folder / "pending"):
            with contextlib.suppress(FileNotFoundError, msgspec.MsgspecError):
                ways.add(decode(path.read_bytes(), Sealed).by)
        return ways.pop() if len(ways) == 1 else PLAIN

    @contextmanager
    def locked(self, *, alone: bool) -> Iterator[None]:
        """Keep out who makes shares meanwhile and, if ``alone``, also who signs."""
        opened = private.descriptor(private.folder(self._folder) / "lock", os.O_RDWR)
        try:
            fcntl.flock(opened, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
            yield
        except BlockingIOError:
            raise StoreError("another ceremony has the shares of this host; wait for it") from None
        finally:
            os.close(opened)

    def turn(self) -> int:
        """Return a descriptor; until it is closed, nobody else begins to make shares here.

        One prepared share would take the place of another that hosts may already use.
        """
        opened = private.descriptor(private.folder(self._folder) / "making", os.O_RDWR)
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(opened)
            raise StoreError("another ceremony makes shares on this host; wait for it") from None
        return opened

    def _load(self, path: Path) -> Held | None:
        try:
            held = decode(self._read(path), Held)
        except FileNotFoundError:
            return None
        except msgspec.MsgspecError as error:
            raise StoreError(f"{path.name} is damaged: {error}") from None
        _check(held, path)
        return held

    def _read(self, path: Path) -> bytes:
        with path.open("rb") as file:
            data = file.read(FILE_BYTES)
        try:
            return open_sealed(decode(data, Sealed))
        except msgspec.MsgspecError as error:
            raise StoreError(f"{path.name} is damaged: {error}") from None


def _check(held: Held, path: Path) -> None:
    """Raise `StoreError` unless the share is the one that the header says."""
    try:
        share: Scalar = scalar(held.share)
    except GroupError as error:
        raise StoreError(f"{path.name} is damaged: {error}") from None
    known = held.header.public_shares.get(held.identifier)
    if len(held.header.holders) > MOST_HOLDERS or base_times(share) != known:
        raise StoreError(f"{path.name} has a share that is not the one of its header")


def _keep(path: Path, data: bytes) -> None:
    private.write(path, data)
    _synchronise(path.parent)


def _keep_alone(path: Path, data: bytes) -> None:
    """Keep a share; remove what a crash left of others that were being written."""
    _keep(path, data)
    for left in path.parent.glob(".*"):
        left.unlink(missing_ok=True)


def _synchronise(folder: Path) -> None:
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
