"""What is installed is compared with the lock, by names as indexes compare them."""

from pathlib import Path

import pytest

from e3.locked_packages import differences, locked

pytestmark = pytest.mark.unit

ROOT = Path(__file__).parents[2]
LOCK = """# made by scripts/lock
ansible-core==2.19.14 ; python_full_version < '3.12' \\
    --hash=sha256:1e76
ansible-core==2.21.5 ; python_full_version >= '3.12' \\
    --hash=sha256:0888
colorama==0.4.6 ; sys_platform == 'win32'
mpyc==0.11 \\
    --hash=sha256:12==34
    # via e3 (pyproject.toml)
Types_PyYAML==6.0
"""


def environment(folder: Path, *packages: str) -> Path:
    for package in packages:
        (folder / "lib/python3.11/site-packages" / f"{package}.dist-info").mkdir(parents=True)
    return folder


@pytest.mark.parametrize(
    ("packages", "found"),
    [
        (("ansible_core-2.19.14", "mpyc-0.11", "types_pyyaml-6.0", "other-1"), []),
        (("ansible_core-2.21.5", "mpyc-0.11", "types_PyYAML-6.0"), []),
        (
            ("ansible_core-2.18.0", "mpyc-0.10", "colorama-0.4.6"),
            [
                "ansible-core is 2.18.0 (locked: 2.19.14 or 2.21.5)",
                "mpyc is 0.10 (locked: 0.11)",
                "types-pyyaml is missing (locked: 6.0)",
            ],
        ),
        (
            ("mpyc-0.11", "mpyc-0.10", "types_pyyaml-6.0", "colorama-1"),
            ["colorama is 1 (locked: 0.4.6)", "mpyc is 0.10 and 0.11 (locked: 0.11)"],
        ),
    ],
)
def test_what_differs_is_named(tmp_path: Path, packages: tuple[str, ...], found: list[str]) -> None:
    (tmp_path / "lock").write_text(LOCK)
    place = environment(tmp_path / "venv", *packages)
    assert list(map(str, differences(tmp_path / "lock", place))) == found


def test_the_environment_of_these_tests_is_as_locked() -> None:
    assert len(locked(ROOT / "requirements.txt")) > 50
    assert differences(ROOT / "requirements.txt", ROOT / ".venv") == []
