"""Credentials at the door: what a proposal requires of every party, and every party verifies."""

from collections.abc import Sequence

from e3.authority.credential_check import CredentialError, verify
from e3.didcomm import did as dids
from e3.didcomm.errors import DidcommError
from e3.didcomm.session.bodies import Proposal, Requirement
from e3.didcomm.session.proof import Admit
from e3.errors import ConfigurationError
from e3.remote.text import printable


def requirement(text: str, revocations: str) -> Requirement:
    """Return what ``--require`` says: ``CLAIM=VALUE by DID``."""
    what, by, issuer = text.partition(" by ")
    claim, equals, value = what.strip().partition("=")
    if not (by and equals and claim):
        raise ConfigurationError(
            f"--require: {printable(text)} is not CLAIM=VALUE by DID, as "
            "'role=auditor by did:key:z6Mk...' is"
        )
    try:
        dids.public_key(issuer.strip())
    except DidcommError as error:
        raise ConfigurationError(f"--require: {error}; credentials are of a did:key") from None
    return Requirement(
        claim=claim.strip(), value=value.strip(), issuer=issuer.strip(), revocations=revocations
    )


def admission(proposal: Proposal) -> Admit:
    """Return what admits parties to the session of a proposal."""

    def admit(identity: str, credentials: Sequence[str]) -> None:
        for each in proposal.requires:
            _check(each, identity, credentials)

    return admit


def _check(needed: Requirement, identity: str, credentials: Sequence[str]) -> None:
    """Raise `DidcommError` unless one of the credentials has what is needed."""
    wrong = "it was not shown"
    for text in credentials:
        try:
            said = verify(
                text, issuer=needed.issuer, subject=identity, revocations=needed.revocations
            )
        except CredentialError as error:
            wrong = str(error)
            continue
        if said.claims.get(needed.claim) == needed.value:
            return
        wrong = f"it says that {printable(needed.claim)} is something else"
    what = printable(f"{needed.claim}={needed.value}", 120)
    raise DidcommError(
        f"{printable(identity, 80)} has no credential {what} that admits it: {wrong}"
    )
