"""What a session is made of, from a stack's settings and its joined hosts.

`pulumi up` and `e3 run` both prepare their sessions here, so whatever one takes, the other takes.
"""

from pathlib import Path

from e3.experiment import Program, SessionSettings
from e3.interfaces import Authority
from e3.paths import Paths
from e3.session.plan import JoinedHosts, plan_settings
from e3.session.progress import Observer
from e3.session.run_session import SessionSpec


def prepare(  # noqa: PLR0913 -- what a session is made of, by keyword
    *,
    settings: SessionSettings,
    program: Program,
    joined: JoinedHosts,
    sessions: Path,
    authority: Authority | None,
    observer: Observer,
) -> SessionSpec:
    """Return the session of ``program``; evidence goes to a new folder below ``sessions``.

    ``authority`` certifies the parties' keys if the settings ask for TLS. Raises
    `ConfigurationError` if there are fewer hosts than parties.
    """

    async def look() -> Paths:
        return await joined.overlay.paths(joined.hosts, joined.network)

    return SessionSpec(
        plan=plan_settings(settings, program, joined.hosts, joined.network.addresses),
        hosts=tuple(joined.hosts),
        overlay=joined.name,
        sessions=sessions,
        deadline_seconds=settings.deadline_seconds,
        address_trust=joined.overlay.needs.address_trust,
        paths=tuple(joined.paths),
        look=look,
        rules=settings.rules,
        authority=authority,
        inputs=settings.inputs,
        observer=observer,
    )
