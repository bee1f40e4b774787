"""What a joint authority certifies, by purpose: how it is asked, and for its own certificate."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from e3.authority.joint.requests import Request
from e3.ceremonies import credentials, nebula, ssh, tls
from e3.ceremonies.signer import JointSigner
from e3.interfaces import Authority


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One purpose: the request for the authority's own certificate, and who asks it to sign.

    ``request`` takes a title, the seconds of its validity, and the version of the encoding.
    An authority without a certificate is known by its key alone, which ``text`` writes.
    """

    request: Callable[[str, int, int], Request] | None = None
    authority: Callable[[str, JointSigner], Authority] | None = None
    text: Callable[[bytes], str] = bytes.hex


KINDS: Mapping[str, Kind] = {
    "nebula": Kind(
        request=nebula.authority_request,
        authority=lambda certificate, signer: nebula.JointNebulaCa(
            certificate=certificate, signer=signer
        ),
    ),
    "tls": Kind(
        request=tls.authority_request,
        authority=lambda certificate, signer: tls.JointTlsCa(
            certificate=certificate, signer=signer
        ),
    ),
    credentials.PURPOSE: Kind(text=credentials.key_text),
    ssh.PURPOSE: Kind(text=ssh.key_text),
}
