"""Print what `pip list -v --format json` does, of what Pulumi's language host reads, without pip.

``installed_packages.py FOLDER``: the packages of a site-packages folder, by the names of their
metadata folders (https://packaging.python.org/en/latest/specifications/recording-installed-packages/).
"""

import json
import os
import sys

METADATA = ".dist-info"


def main(folder: str) -> None:
    """Print them as JSON."""
    found = []
    for name in sorted(os.listdir(folder)):  # noqa: PTH208 - pathlib takes as long as all the rest
        if name.endswith(METADATA):
            # folders have `_` where names have `-`, by which the host knows Pulumi's own
            package, _, version = name.removesuffix(METADATA).rpartition("-")
            row = {"name": package.replace("_", "-"), "version": version, "location": folder}
            found.append(row)
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1])
