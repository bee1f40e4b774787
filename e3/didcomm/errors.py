"""The error of this package: something that another party wrote was refused."""

from e3.errors import E3Error


class DidcommError(E3Error):
    """A DID, a message or an invitation is refused; the text says what is wrong with it."""
