"""Everything that E3 raises on purpose.

::

    E3Error
     +-- ConfigurationError   a key of the stack configuration, before anything is made
     +-- ProgramError         the MPyC program cannot be run as given
     +-- PlatformError        this machine lacks a tool, a kernel feature or a permission
     +-- BuildError           an image or another output of a flake could not be built
     +-- CloudError           an account refuses what is asked, or does not offer it
     +-- HostError            a host is gone or does not answer
     |    +-- ServiceError    a service on a host did not start or died
     +-- LabError             the lab could not be built or does not behave as asked
     +-- OverlayError         hosts that should reach each other do not
     +-- AuthorityError       an identity was refused or could not be signed
     +-- SessionError         a session that did not complete; carries its verdict
     +-- ResultsError         a file of results that is damaged or of another version

Each message is one sentence or two: what is wrong (key and value where there
are any), and what to do about it. Text that others wrote passes through `printable` first.
"""

from e3.remote.text import printable_lines

MESSAGE_LENGTH = 10_000
"""The longest text of an error; some contain a service's last lines."""


class E3Error(Exception):
    """Base of all errors that a user can act on.

    As text it is printable and bounded, whatever a host or a file put into it.
    """

    def __str__(self) -> str:
        """Return the message, made printable and of bounded length."""
        return printable_lines(super().__str__(), MESSAGE_LENGTH)


class ConfigurationError(E3Error):
    """A key of the stack configuration is unknown, missing or has a wrong value."""


class ProgramError(E3Error):
    """The MPyC program does not exist or cannot be run."""


class PlatformError(E3Error):
    """The machine lacks a tool, a kernel feature or a permission."""


class BuildError(E3Error):
    """An image or another output of a flake could not be built."""


class CloudError(E3Error):
    """An account at a cloud refuses what is asked of it, or does not offer it."""


class HostError(E3Error):
    """A host is gone or does not answer."""


class ServiceError(HostError):
    """A service on a host did not become ready, or died."""


class LabError(E3Error):
    """The lab could not be built, or does not behave as asked."""


class OverlayError(E3Error):
    """Hosts that should reach each other over the overlay do not."""


class AuthorityError(E3Error):
    """An identity was refused or could not be signed."""


class SessionError(E3Error):
    """A session that did not complete."""


class ResultsError(E3Error):
    """A file of results is damaged, of another version, or in use."""
