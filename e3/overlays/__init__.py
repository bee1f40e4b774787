"""Ways of connecting hosts, one file each. A new overlay adds its line to `OVERLAYS`."""

from collections.abc import Callable, Mapping

from e3.interfaces import Overlay
from e3.overlays.nebula import Nebula
from e3.overlays.plain import Plain

OVERLAYS: Mapping[str, Callable[..., Overlay]] = {
    "nebula": Nebula,
    "plain": Plain,
}
