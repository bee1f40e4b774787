"""Credentials at the door: what a proposal requires of every party, and every party verifies."""

from collections.abc import Sequence

from e3.authority.credential_check import CredentialError, claims_of, shown, verify
from e3.didcomm import did as dids
from e3.didcomm.errors import DidcommError
from e3.didcomm.session.bodies import Proposal, Requirement, Wanted
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


def wanted(proposal: Proposal) -> tuple[Wanted, ...]:
    """Return what a proposal requires, as links say it."""
    return tuple(
        Wanted(claim=each.claim, value=each.value, issuer=each.issuer) for each in proposal.requires
    )


def shown_for(credentials: Sequence[str], needed: Sequence[Wanted]) -> tuple[str, ...]:
    """Return what a user shows of their credentials: what is needed, and no more.

    Of an SD-JWT these are the needed claims, a JWT is shown whole, and one that is not needed is
    not shown. Raises `DidcommError` if something needed is in none of them.
    """
    read = [(text, *claims_of(text)) for text in credentials]
    names: dict[str, set[str]] = {}
    for each in needed:
        having = [
            text
            for text, issuer, claims in read
            if issuer == each.issuer and claims.get(each.claim) == each.value
        ]
        if not having:
            raise DidcommError(
                f"{printable(f'{each.claim}={each.value}', 120)} by {printable(each.issuer, 80)} "
                "is required of every party; give a credential that says so by --credential"
            )
        names.setdefault(having[0], set()).add(each.claim)
    return tuple(shown(text, claims) for text, claims in names.items())


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
