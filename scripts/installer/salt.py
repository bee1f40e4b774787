"""The salt of this folder's passphrase is in each Pulumi.<stack>.yaml, and git never sees it.

Pulumi writes a line `encryptionsalt` into a stack's file at its first use. It belongs to the
passphrase of this folder, so it must not be committed. A filter that removes it from commits
alone would not do: git takes a file of another size for modified without a look at its content.
So every tracked file has the line from the beginning, and git puts it into each one that it
writes (gitattributes(5), clean and smudge).
"""

import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from e3 import private
from installer.steps import aside, run

KEY = "encryptionsalt:"
FILE = ".e3/encryptionsalt"
PUT = f"""awk -v salt="$(cat {FILE} 2>/dev/null)" '
/^{KEY}/ {{ next }}
/^config:/ && salt {{ print salt; salt = "" }}
{{ print }}
END {{ if (salt) print salt }}'"""
"""Puts the salt before `config:`, so that a line added at the end belongs to that."""

FILTERS = {"filter.e3-stack.clean": f"sed /^{KEY}/d", "filter.e3-stack.smudge": PUT}
"""What .gitattributes names for these files."""

EMPTY = "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"
"""The blob of a file of which only the name was added (`git add --intent-to-add`)."""


@dataclass(frozen=True)
class Salt:
    """The tracked stack files have a salt; `git status` does not show it."""

    root: Path
    what: str = "a salt in Pulumi.<stack>.yaml that git leaves out (usually 1 s)"

    def done(self) -> bool:
        """See `Step`."""
        if not (self.root / ".git").exists() or shutil.which("git") is None:
            return True
        configured = self._git("config", "--local", "-z", "--get-regexp", r"^filter\.e3-stack\.")
        if configured is None:
            return True  # git does not work here for this user, as in a folder of somebody else
        rows = dict(row.split("\n", 1) for row in configured.split("\0") if row)
        return rows == FILTERS and (self.root / FILE).exists() and not self._lacking()

    def do(self) -> None:
        """See `Step`."""
        salt = self.root / FILE
        if not salt.exists():
            private.write(salt, f"{KEY} {self._new()}\n")
        for name, command in FILTERS.items():
            self._git("config", "--local", name, command)
        for name in (lacking := self._lacking()):
            self._put(self.root / name)
        self._look_again(lacking)

    def _put(self, path: Path) -> None:
        """Write a file as git will: it may have edits, so whole or not at all."""
        filtered = subprocess.run(
            ["sh", "-c", PUT],
            cwd=self.root,
            input=path.read_bytes(),
            capture_output=True,
            check=True,
        )
        with aside(self.root / ".tools") as folder:
            new = folder / path.name
            new.write_bytes(filtered.stdout)
            shutil.copymode(path, new)
            new.replace(path)

    def _new(self) -> str:
        """Return a salt; Pulumi itself makes it, as the format is its own."""
        with aside(self.root / ".tools") as folder:
            project = f"name: salt\nruntime: python\nbackend: {{url: 'file://{folder}'}}\n"
            (folder / "Pulumi.yaml").write_text(project)
            run(
                [self.root / ".tools/bin/pulumi", "stack", "init", "salt", "--non-interactive"],
                cwd=folder,
                environment={
                    "PULUMI_HOME": str(folder),
                    "PULUMI_CONFIG_PASSPHRASE_FILE": str(self.root / ".e3/passphrase"),
                },
            )
            written = (folder / "Pulumi.salt.yaml").read_text()
        return next(row.partition(" ")[2] for row in written.splitlines() if row.startswith(KEY))

    def _lacking(self) -> list[str]:
        """Return the tracked stack files without a salt that serves here."""
        tracked = (self._git("ls-files", "-z", "--", ":(glob)Pulumi.*.yaml") or "").split("\0")
        return [name for name in tracked if name and self._lacks(self.root / name)]

    def _lacks(self, path: Path) -> bool:
        """Tell whether a file has no salt, or that of a passphrase which is gone."""
        if path.is_symlink() or not path.is_file():
            return False
        text = path.read_text(errors="surrogateescape")
        found = [line for line in text.splitlines() if line.startswith(KEY)]
        if not found:
            return True
        stack = path.name.removeprefix("Pulumi.").removesuffix(".yaml")
        state = self.root / ".e3/state/.pulumi/stacks/e3" / f"{stack}.json"
        ours = self.root / FILE
        # state, or a secret in the file, may be encrypted with the other
        needed = state.exists() or "secure:" in text
        return not needed and ours.exists() and found != ours.read_text().splitlines()

    def _look_again(self, names: Sequence[str]) -> None:
        """Let git compare the content of these files at its next look, and what is staged stay."""
        if not names:
            return
        listed = self._git("ls-files", "-z", "-v", "--stage", "--", *names) or ""
        rows = [row.partition(" ")[::2] for row in listed.split("\0") if row]
        # H: neither in conflict nor told to be left alone
        plain = [row for tag, row in rows if tag == "H" and EMPTY not in row]
        self._git("update-index", "-z", "--index-info", given="".join(f"{row}\0" for row in plain))
        self._git("update-index", "-q", "--refresh")

    def _git(self, *arguments: str, given: str = "") -> str | None:
        """Return what git prints, None if git refuses to work in this folder."""
        done = subprocess.run(
            ["git", "-C", str(self.root), *arguments],
            input=given,
            capture_output=True,
            text=True,
            check=False,
        )
        return None if done.returncode == 128 else done.stdout  # noqa: PLR2004 - git's fatal errors
