"""Make the identities of a host, of its agent and of its mediator, and print their DIDs.

The packages that agents need are those of E3's own environment. On a host that has another one, as
over SSH, pip installs them from its index, by a lock with hashes, into the folder of keys.
"""

import json
import secrets as random
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from e3 import private

IDENTITIES = ("agent", "mediator")
DIDS = "dids.json"
PACKAGES = "packages"
SECRET = "convener.key"  # noqa: S105 - the name of a file
SECRET_BYTES = 32
MODULES = ("aiohttp", "base58", "cryptography", "did_peer_2", "did_peer_4", "msgspec", "nacl")
PIP = ("-m", "pip", "--quiet", "--disable-pip-version-check", "install", "--no-deps")
PIP_ONLY = ("--only-binary", ":all:", "--require-hashes", "--upgrade")
LAST_LINES = 3


def main(secrets: Path, configuration: Path, requirements: str) -> None:
    """Print the DIDs as JSON, by what they are of; make what is missing."""
    del configuration
    if (known := secrets / DIDS).exists():
        sys.stdout.write(known.read_text())
        return
    secrets.mkdir(0o700, parents=True, exist_ok=True)
    secrets.chmod(0o700)
    _ensure_packages(secrets / PACKAGES, Path(requirements))
    from e3.didcomm.identity_file import identity_in  # noqa: PLC0415 - its packages are there now

    dids = {name: identity_in(secrets / f"{name}.json").did for name in IDENTITIES}
    private.write(secrets / SECRET, random.token_hex(SECRET_BYTES))
    private.write(known, json.dumps(dids))
    sys.stdout.write(json.dumps(dids))


def _ensure_packages(place: Path, requirements: Path) -> None:
    missing = [name for name in MODULES if find_spec(name) is None]
    if not missing:
        return
    argv = [sys.executable, *PIP, *PIP_ONLY, "--target", str(place), "-r", str(requirements)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()[-LAST_LINES:]
        raise SystemExit(
            f"{sys.executable} lacks {', '.join(missing)}, and pip cannot install them from its "
            f"index: {' / '.join(said)}; give pip an index (PIP_INDEX_URL), or choose another "
            "overlay"
        )
