"""The certificates of a Nebula network: of each member, and those that are blocked."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from e3.authority import nebula_cert
from e3.interfaces import Authority, SigningRequest, Terms
from e3.remote.tasks import gather_or_cancel


@dataclass(frozen=True, kw_only=True)
class Member:
    """A host of the network, in public values; ``not_after`` is a Unix time.

    ``earlier`` are certificates for the same key that are still valid, by fingerprint with
    their expiry. They admit the host as well, and are blocked together with the current one.
    """

    address: str
    public_key: str
    certificate: str
    fingerprint: str
    not_after: float
    earlier: dict[str, float] = field(default_factory=dict)

    @property
    def valid(self) -> dict[str, float]:
        """The fingerprint of each certificate that admits this host, with its expiry."""
        known = {**self.earlier, self.fingerprint: self.not_after}
        return {fingerprint: end for fingerprint, end in known.items() if end > time.time()}


@dataclass(frozen=True, kw_only=True)
class Membership:
    """All members by name; ``authority`` is the certificate of the authority that signed.

    ``blocklist`` maps the fingerprints of refused certificates to their expiry.
    """

    authority: str = ""
    members: dict[str, Member] = field(default_factory=dict)
    blocklist: dict[str, float] = field(default_factory=dict)


async def certify(
    known: Membership,
    addresses: Mapping[str, str],
    public_keys: Mapping[str, str],
    authority: Authority,
    terms: Terms,
) -> Membership:
    """Return the membership of the hosts in ``addresses``, which have a prefix length.

    A host gets a new certificate if its key, address or authority changed, or its certificate
    ends within the margin. The certificates of a host that left, or changed its key, are blocked
    until they expire. Earlier ones of a renewed host stay valid: they are for the same key.
    """
    now = time.time()
    due = [
        SigningRequest(
            name=name,
            address=address,
            public_key=public_keys[name],
            groups=terms.groups,
            valid_seconds=round(terms.valid_seconds),
        )
        for name, address in addresses.items()
        if known.authority != authority.certificate
        or (member := known.members.get(name)) is None
        or member.public_key != public_keys[name]
        or member.address != address
        or member.not_after - terms.margin_seconds < now
    ]
    members = {name: known.members[name] for name in addresses if name in known.members}
    members.update(await _sign(due, known, authority))
    blocklist = {fp: end for fp, end in known.blocklist.items() if end > now}
    for name, old in known.members.items():
        if name not in members or members[name].public_key != old.public_key:
            blocklist.update(old.valid)
    return Membership(
        authority=authority.certificate,
        members={name: members[name] for name in addresses},
        blocklist=blocklist,
    )


async def _sign(
    requests: list[SigningRequest], known: Membership, authority: Authority
) -> dict[str, Member]:
    certificates = await authority.sign(requests)
    facts = await gather_or_cancel(map(nebula_cert.read, certificates))
    signed = {}
    for request, certificate, fact in zip(requests, certificates, facts, strict=True):
        last = known.members.get(request.name)
        renews = last is not None and last.public_key == request.public_key
        signed[request.name] = Member(
            address=request.address,
            public_key=request.public_key,
            certificate=certificate,
            fingerprint=fact.fingerprint,
            not_after=fact.not_after,
            earlier=last.valid if last is not None and renews else {},
        )
    return signed
