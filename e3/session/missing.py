"""What to do about a module that a program imports and its host does not have."""

import re

ABSENT = re.compile(r"ModuleNotFoundError: No module named '([\w.]+)'")

PACKAGES = {
    "bs4": "beautifulsoup4",
    "cv2": "opencv-python-headless",
    "dateutil": "python-dateutil",
    "PIL": "pillow",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
    "yaml": "PyYAML",
}
"""Modules whose package has another name."""


def missing_module(detail: str) -> str:
    """Return what to do if a party failed for want of a module; empty if it did not."""
    found = ABSENT.search(detail)
    if found is None:
        return ""
    module = found[1].partition(".")[0]
    package = PACKAGES.get(module, module)
    return (
        f"if {module} is a package, name {package} in a requirements.txt beside the program, and "
        "E3 installs it (unless e3:dependencies is none; a package that is installed here with "
        "pip's option -e is not); if it is a file of the program's own folder, run that folder"
    )
