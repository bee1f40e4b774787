"""The order of the steps; `scripts/setup` documents the options."""

import argparse
import json
import os
import signal
import sys
import time
from pathlib import Path

from e3 import mishaps
from installer import packages
from installer.backend import Backend
from installer.cache import Cache, place
from installer.environment import REPORT, Environment, Extra
from installer.packages import Packages
from installer.plugins import Plugin
from installer.programs import TUNNEL, Go, Tool, recipe
from installer.salt import Salt
from installer.steps import AGAIN, ROOT, SetupError, run, say, take

TOOLS = ROOT / ".tools"
CACHE = Cache(place())


def main() -> None:
    """Run the steps that the arguments ask for."""
    parser = argparse.ArgumentParser(prog="scripts/setup", description="Make this folder ready.")
    parser.add_argument("stacks", metavar="STACK", nargs="*", default=["dev"])
    parser.add_argument("--all", action="store_true", help="what every overlay needs")
    parser.add_argument("--report", action="store_true", help="what charts and Parquet need")
    parser.add_argument("--sessions", action="store_true", help="what e3 invite and e3 join need")
    parser.add_argument("--bench", action="store_true", help="what the benchmarks need")
    options = parser.parse_args()

    start = time.monotonic()
    os.chdir(ROOT)
    wanted = [
        *packages.BASE,
        *(packages.BENCH if options.bench else []),
        *(packages.TESTS if options.all else []),
    ]
    take(
        [
            Packages(wanted, TOOLS),
            Environment(ROOT / "requirements.txt", ROOT / ".venv", TOOLS),
            *([Extra(ROOT / REPORT, ROOT / ".venv")] if options.all or options.report else []),
            Backend(ROOT),
        ],
        TOOLS,
    )
    stacks = [] if options.all else options.stacks
    ask = [ROOT / ".venv/bin/python", "-m", "installer.needs", *stacks]
    needs = json.loads(run(ask, environment={"PYTHONPATH": f"{ROOT}:{ROOT / 'scripts'}"}))
    path = _path_without_ours()
    go = Go(ROOT / "tools/go/requirements.txt", TOOLS, path)
    for name in needs["left_out"]:
        if not Tool(ROOT / "tools" / name, go, TOOLS, path, CACHE).done():
            usually = recipe(ROOT / "tools" / name).usually
            say(f"without {name}: building it takes {usually}; scripts/setup {name} brings it")
    sessions = [TUNNEL] if options.all or options.sessions else []
    names = ["pulumi", "pulumi-language-python", *dict.fromkeys([*needs["tools"], *sessions])]
    take(
        [
            Packages(needs["packages"], TOOLS),
            *(Tool(ROOT / "tools" / name, go, TOOLS, path, CACHE) for name in names),
            *(Plugin(name, version, ROOT, path) for name, version in needs["plugins"].items()),
            go,
            Salt(ROOT),
        ],
        TOOLS,
    )
    say(f"ready ({time.monotonic() - start:.1f} s)")


def _path_without_ours() -> str:
    """Return PATH without the folders of scripts/activate, to find only programs not built here."""
    folders = os.environ["PATH"].split(os.pathsep)
    return os.pathsep.join(path for path in folders if not _ours(Path(path)))


def _ours(folder: Path) -> bool:
    """Tell whether a folder is this checkout's, or that of another checkout's programs."""
    return folder.is_relative_to(ROOT) or (folder.parent.parent / "scripts/installer").is_dir()


def _stop(*_: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _stop)
    try:
        main()
    except SetupError as error:
        sys.exit(f"set-up: {error}")
    except PermissionError as error:
        sys.exit(f"set-up: {error}\nIf it once ran as root, type:  sudo chown -R $(id -u) {ROOT}")
    except OSError as error:
        sys.exit(f"set-up: {mishaps.told(error)}\n{AGAIN}")
    except KeyboardInterrupt:
        sys.exit(f"\nset-up: interrupted. {AGAIN}")
