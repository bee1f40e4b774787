"""The table of needs in docs/overlays.md says what the overlays declare."""

from pathlib import Path

from e3.interfaces import Needs
from e3.overlays import OVERLAYS

PAGE = Path("docs/overlays.md")
HEADING = "## What each needs"


def facts(needs: Needs) -> list[str]:
    """Return a row of the table."""
    columns = (
        needs.tun,
        needs.udp,
        needs.public_host,
        needs.port_443_suffices,
        needs.ipv6,
        needs.control_server,
        needs.account is not None,
    )
    return ["yes" if column else "no" for column in columns]


def test_the_table_has_what_each_overlay_declares() -> None:
    section = PAGE.read_text().partition(HEADING)[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| `")]
    rows = [[cell.strip(" `") for cell in line.strip("|").split("|")] for line in lines]
    declared = {name: facts(make().needs) for name, make in OVERLAYS.items()}
    assert {name: cells for name, *cells in rows} == declared
    assert [name for name, *_ in rows] == sorted(OVERLAYS)
