"""What is checked before anything is made."""

from pathlib import Path

import pytest

from e3 import preflight
from e3.errors import PlatformError
from e3.overlays.nebula import Nebula
from e3.overlays.wireguard import WireGuard
from e3.preflight import check_watches

pytestmark = pytest.mark.unit


def test_more_hosts_than_may_watch_their_sockets_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preflight, "KERNEL_WIREGUARD", tmp_path / "none")
    limit = tmp_path / "max_user_instances"
    check_watches(WireGuard().needs, 300, limit)  # a kernel without inotify(7)
    limit.write_text("128\n")
    check_watches(WireGuard().needs, 100, limit)
    check_watches(Nebula().needs, 300, limit)
    with pytest.raises(PlatformError, match=r"`sudo sysctl fs\.inotify\.max_user_instances=298`"):
        check_watches(WireGuard().needs, 129, limit)
    monkeypatch.setattr(preflight, "KERNEL_WIREGUARD", tmp_path)
    check_watches(WireGuard().needs, 129, limit)
