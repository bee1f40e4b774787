"""The program of a holder on its host: it answers one coordinator, line by line, until that ends.

    python -I -c 'from e3.authority.joint.holder import main; main("/var/lib/e3/authority")'

Nonces and what a ceremony needs until its end are in the memory of this process alone.
"""

import hashlib
import os
import resource
import sys
import time
from contextlib import suppress
from pathlib import Path

import msgspec
from nacl.signing import SigningKey

from e3.authority.joint import dealing, log
from e3.authority.joint.channel import digest
from e3.authority.joint.dealing import DisputeError, Entrance, ShareMaking
from e3.authority.joint.ed25519 import GroupError, Scalar
from e3.authority.joint.errors import CeremonyError
from e3.authority.joint.known import (
    check_archived,
    judged_by_files,
    key_of,
    own_certificate,
    own_key,
    revoked_by,
)
from e3.authority.joint.messages import (
    AnyAnswer,
    Archive,
    Begin,
    Commit,
    Complained,
    Deal,
    Done,
    Draw,
    Failed,
    Forget,
    Greet,
    Greeted,
    Log,
    LogPage,
    Prove,
    Proved,
    Receive,
    Refused,
    Request,
    Sign,
    Spoken,
    encode,
)
from e3.authority.joint.policy import Examined, RefusalError, description, examine
from e3.authority.joint.sharing import prove_share
from e3.authority.joint.signing import Signing
from e3.authority.joint.store import Held, Store
from e3.authority.joint.terms import possession_context

LINE_BYTES = 32_000_000
PAGE, PAGE_BYTES = 500, 400_000
"""Entries of a log, and their bytes, that are shown at once: in base64 they fit into a line."""
ENTRY_LINES = 100
"""Of one entry of a log; what is longer takes several."""

_decoder: msgspec.json.Decoder[Request] = msgspec.json.Decoder(Request)


class HolderError(CeremonyError):
    """A request has no place here, or none now."""


class ShareHolder:
    """A holder, whatever brings it requests; one ceremony at a time."""

    def __init__(self, store: Store) -> None:
        """Keep shares in ``store``; `e3.authority.joint.policy` says what may be signed."""
        self._store = store
        self._key: SigningKey | None = None
        self._entrance: Entrance | None = None
        self._making: ShareMaking | None = None
        self._turn: int | None = None
        self._signing: Signing | None = None
        self._examined: list[Examined] = []
        self._drawn: Draw | None = None

    def answer(self, line: bytes) -> bytes:
        """Return the answer to one line, also as a line."""
        try:
            said = self._answer(_decoder.decode(line))
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            said = Failed(reason=f"this is no request to a holder: {error}")
        except DisputeError as error:
            said = Complained(dealer=error.culprits[0], reason=str(error), evidence=error.evidence)
        except CeremonyError as error:
            said = Failed(reason=str(error), culprits=list(error.culprits))
        except GroupError as error:
            said = Failed(reason=str(error))
        except RefusalError as error:
            said = Refused(rule=error.rule, reason=str(error))
        except OSError as error:
            said = Failed(reason=f"{error.filename}: {error.strerror}")
        return encode(said) + b"\n"

    def _answer(self, asked: Request) -> AnyAnswer:  # noqa: C901, PLR0911 -- one a kind
        match asked:
            case Greet():
                return self._greet(asked)
            case Prove():
                return self._prove(asked)
            case Begin():
                return self._begin(asked)
            case Deal():
                return self._made.deal(asked)
            case Receive():
                with self._store.locked(alone=True):
                    return self._made.receive(asked, self._store)
            case Commit():
                return self._commit(asked)
            case Draw():
                return self._draw(asked)
            case Sign():
                return self._sign(asked)
            case Archive():
                return self._archive(asked)
            case Log():
                return self._log(asked)
            case Forget():
                self.end()
                self._store.forget(asked.purpose)
                self._key = None  # it is removed with the last share
                return Done()

    def end(self) -> None:
        """End the making of shares that has begun, as the end of this process does."""
        self._making = None
        if self._turn is not None:
            os.close(self._turn)
            self._turn = None

    def _greet(self, asked: Greet) -> Greeted:
        self.end()
        held, pending = self._store.held(asked.purpose), self._store.pending(asked.purpose)
        own = own_key(held.header.scope, asked.purpose) if held else None
        self._entrance = Entrance(self._identity, asked.purpose, os.urandom(32), own)
        if held is not None:
            with suppress(log.LogError):  # it is told where the log is needed
                self._record_shares(held)  # a crash may have come before
        return Greeted(
            hello=self._entrance.hello,
            sealed=self._store.sealed(asked.purpose),
            header=held.header if held else None,
            pending=pending.header if pending else None,
            prepared=held.prepared if held else [],
            certificate=self._store.certificate(asked.purpose),
        )

    def _prove(self, asked: Prove) -> Proved:
        """Prove that this host has the share that it claims; the coordinator draws ``nonce``."""
        held = self._held(asked.purpose)
        context = possession_context(held.header, asked.nonce)
        proof = prove_share(held.identifier, Scalar(held.share), context)
        return Proved(commitment=proof.commitment, response=proof.response)

    def _begin(self, asked: Begin) -> Spoken | Done:
        entrance, self._entrance = self._entrance, None  # one ceremony each
        if entrance is None or asked.purpose != asked.terms.purpose:
            raise HolderError("nobody has entered this ceremony here")
        known, told = self._store.certificate(asked.purpose), asked.terms.certificate
        if known is not None and known != told:
            raise HolderError("the terms have another certificate of this authority")
        if told is not None:
            if asked.terms.base is None:
                raise HolderError("a key that is to be made cannot have a certificate yet")
            check_archived(asked.terms.base, told)
        self._turn = self._store.turn()
        self._making = ShareMaking(entrance, asked, self._store.held(asked.purpose))
        return self._making.promise() or Done()

    @property
    def _identity(self) -> SigningKey:
        """The host's own key."""
        self._key = self._key or self._store.identity()
        return self._key

    @property
    def _made(self) -> ShareMaking:
        if self._making is None:
            raise HolderError("no ceremony that makes shares has begun here")
        return self._making

    def _commit(self, asked: Commit) -> Done:
        with self._store.locked(alone=True):
            held = dealing.commit(asked, self._store)
            if held.header.certificate is not None:
                self._store.archive(asked.purpose, held.header.certificate)
        self.end()
        self._record_shares(held)
        return Done()

    def _record_shares(self, held: Held) -> None:
        """Record that a share is in use, once."""
        if self._store.recorded(held):
            return
        if log.has(self._store.log, "shares", held.context):  # a crash came before `record`
            self._store.record(held)
            return
        names = sorted(each.name for each in held.header.holders.values())
        header = held.header
        line = f"{header.threshold} of {len(names)} for {', '.join(header.scope.names)}"
        self._record("shares", held, held.context, names, [line[:2000]])
        self._store.record(held)

    def _draw(self, asked: Draw) -> Spoken:
        held = self._held(asked.purpose)
        found = self._judge(held, asked)
        messages = [each.message for each in found]
        self._signing = Signing(self._identity, held, asked, messages)
        self._examined, self._drawn = found, asked
        return self._signing.committed()

    def _judge(self, held: Held, asked: Draw) -> list[Examined]:
        key = key_of(held.header, self._store, asked.hellos)
        try:
            return [examine(key, each) for each in asked.requests]
        except RefusalError as error:
            line = f"{error.rule}: {error}"
            self._record("refused", held, bytes(32), [], [line[:2000]])
            raise

    def _sign(self, asked: Sign) -> Spoken:
        signing, self._signing, drawn = self._signing, None, self._drawn
        if signing is None or drawn is None:
            raise HolderError("no nonces are drawn here")
        requests = [each.request for each in self._examined]
        changing = judged_by_files(requests)
        with self._store.locked(alone=changing):
            held = self._held(asked.purpose)
            if drawn.purpose != asked.purpose or drawn.header != digest(encode(held.header)):
                raise HolderError("the nonces were drawn for another key, or for older shares")
            if changing:  # another ceremony may have changed them since
                self._judge(held, drawn)
            said = signing.sign(asked)
            names = [held.header.holders[one].name for one in sorted(drawn.signers)]
            what = [each.what[:2000] for each in self._examined]
            # before the shares leave: what is not in the log has not been signed
            self._record("signatures", held, signing.context, names, what)
            self._store.revoke(asked.purpose, revoked_by(requests))
        return said

    def _archive(self, asked: Archive) -> Done:
        held = self._held(asked.purpose)
        with self._store.locked(alone=True):
            known = self._store.certificate(asked.purpose)
            if known and known != asked.certificate:
                raise HolderError("another certificate of this authority is archived here")
            if not known:
                check_archived(held.header, asked.certificate)
                self._store.archive(asked.purpose, asked.certificate)
                line = description(own_certificate(asked.certificate).request)
                text = hashlib.sha256(asked.certificate.text.encode()).hexdigest()
                self._record("certificate", held, bytes(32), [], [f"{line}, SHA-256 {text}"])
        return Done()

    def _log(self, asked: Log) -> LogPage:
        page, total = log.page(self._store.log, asked.first, PAGE, PAGE_BYTES)
        return LogPage(key=bytes(self._identity.verify_key), total=total, entries=page)

    def _held(self, purpose: str) -> Held:
        held = self._store.held(purpose)
        if held is None:
            raise HolderError("this host has no share of that key")
        return held

    def _record(
        self, kind: log.Kind, held: Held, ceremony: bytes, names: list[str], what: list[str]
    ) -> None:
        for at in range(0, max(1, len(what)), ENTRY_LINES):
            entry = log.Entry(
                number=0,
                previous=log.START,
                time=int(time.time()),
                kind=kind,
                purpose=held.header.purpose,
                epoch=held.header.epoch,
                ceremony=ceremony,
                holders=names,
                what=what[at : at + ENTRY_LINES],
            )
            log.append(self._store.log, self._identity, entry)


def main(folder: str) -> None:
    """Answer the lines of standard input on standard output; end with it."""
    os.umask(0o077)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core file would have the share
    holder = ShareHolder(Store(Path(folder)))
    while line := sys.stdin.buffer.readline(LINE_BYTES):
        sys.stdout.buffer.write(holder.answer(line))
        sys.stdout.buffer.flush()
