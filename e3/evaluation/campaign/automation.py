"""The stack of a cell, driven by Pulumi's Automation API: the same program as `pulumi up`.

A stack that the campaign's process left when it was killed is removed by `CellStack.down`, too:
another process may still hold its lock until it has ended.
"""

import contextlib
import functools
import re
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from e3 import deployed, pulumi_state
from e3.access.identity import identify
from e3.deployed import FILES, Stack, certifier
from e3.errors import E3Error, HostError
from e3.interfaces import Authority
from e3.lab import client
from e3.pulumi_state import decode_export

LOCK_SECONDS = 240.0
"""How long an update that a killed campaign began may go on."""

PAUSE_SECONDS = 0.5
LOCKED_BY = re.compile(r"\(pid (\d+)\)")

Result = TypeVar("Result")


class CellStack:
    """The stack of one cell; each verb raises `HostError` with Pulumi's own sentence."""

    def __init__(self, name: str, values: Mapping[str, object], root: Path) -> None:
        """Refer to the stack of that name in the project ``root``; nothing is made yet."""
        self.name = name
        self._values = values
        self._root = root

    @property
    def exists(self) -> bool:
        """Whether it has a state, or files."""
        files = self._root / FILES
        return (
            pulumi_state.checkpoint(files, self.name) is not None
            or (files / self.name).exists()
            or self._configuration.exists()
        )

    @property
    def lab(self) -> client.Lab:
        """Its lab, if its fleet is one."""
        return client.Lab(self._root / FILES / self.name / "lab")

    def up(self) -> tuple[Stack, Authority | None]:
        """Bring it up; return its joined hosts, and who certifies its parties, if it has TLS."""
        self._configure()
        stack = _said(self._stack)
        _said(lambda: stack.up(color="never", suppress_outputs=True, show_secrets=False))
        checkpoint = pulumi_state.checkpoint(self._root / FILES, self.name)
        found = deployed.joined(pulumi_state.read(checkpoint) if checkpoint else [])
        if found is None:
            raise HostError(f"stack {self.name} came up without joined hosts")
        if not found.certifies:
            return found, None
        # Pulumi alone decrypts the key
        exported = _said(stack.export_stack)
        resources = decode_export(msgspec.json.encode({"deployment": exported.deployment}).decode())
        return found, certifier(resources)

    def down(self) -> None:
        """Remove it with all that it has; do nothing if it does not exist."""
        if not self.exists:
            return
        if pulumi_state.checkpoint(self._root / FILES, self.name) is not None:
            self._configure()
            stack = _said(self._stack)
            self._unlocked(lambda: stack.destroy(color="never", suppress_outputs=True))
            _said(lambda: stack.workspace.remove_stack(self.name, force=True))
        # a lab that was started by an update that was killed is in no state
        client.stop(self._root / FILES / self.name / "lab")
        shutil.rmtree(self._root / FILES / self.name, ignore_errors=True)
        self._configuration.unlink(missing_ok=True)

    def _unlocked(self, act: Callable[[], Result]) -> Result:
        """Return what ``act`` returns; wait for an update that holds the lock, and cancel it."""
        from pulumi.automation import ConcurrentUpdateError  # noqa: PLC0415 -- see `_stack`

        deadline = time.monotonic() + LOCK_SECONDS
        while True:
            try:
                return _said(act)
            except HostError as error:
                if not isinstance(error.__cause__, ConcurrentUpdateError):
                    raise
                holder = LOCKED_BY.search(str(error.__cause__))
                held = holder is not None and identify(int(holder[1])) is not None
                if held and time.monotonic() < deadline:
                    time.sleep(PAUSE_SECONDS)
                    continue
                if time.monotonic() >= deadline:
                    raise
            _said(self._stack().cancel)

    @property
    def _configuration(self) -> Path:
        return self._root / f"Pulumi.{self.name}.yaml"

    def _configure(self) -> None:
        """Write its configuration; keep the salt of Pulumi's passphrase that is there."""
        known = self._configuration.read_text() if self._configuration.exists() else ""
        salt = [line for line in known.splitlines() if line.startswith("encryptionsalt:")]
        rows = [
            f"  e3:{key}: {msgspec.json.encode(value).decode()}"
            for key, value in self._values.items()
        ]
        self._configuration.write_text("\n".join(["config:", *rows, *salt, ""]))

    def _stack(self) -> Any:  # noqa: ANN401 -- a class of the SDK, which is loaded late
        # here: pulumi takes a second to load, and `e3 campaign show` does not need it
        from pulumi import automation  # noqa: PLC0415

        class Workspace(automation.LocalWorkspace):
            """The project, in which no stack is selected: that is the user's choice."""

            def create_stack(self, stack_name: str) -> None:
                self.pulumi_command.run(
                    ["stack", "init", stack_name, "--no-select"], self.work_dir, {}
                )

            def select_stack(self, stack_name: str) -> None:
                if pulumi_state.checkpoint(Path(self.work_dir) / FILES, stack_name) is None:
                    raise automation.StackNotFoundError(None)  # type: ignore[arg-type]

            def stack_outputs(self, stack_name: str) -> automation.OutputMap:
                """Return nothing: `CellStack.up` reads the state, which has all of it."""
                del stack_name
                return {}

        workspace = Workspace(work_dir=str(self._root), pulumi_command=_pulumi())
        return automation.Stack.create_or_select(self.name, workspace)


@functools.cache
def _pulumi() -> Any:  # noqa: ANN401 -- as `CellStack._stack`
    """Return the command of Pulumi; to make it asks for its version, once for all cells."""
    from pulumi import automation  # noqa: PLC0415 -- the same

    return automation.PulumiCommand()


def _said(act: Callable[[], Result]) -> Result:
    """Return what ``act`` returns; raise Pulumi's errors as one sentence."""
    from pulumi.automation import CommandError  # noqa: PLC0415 -- see `CellStack._stack`

    try:
        return act()
    except CommandError as error:
        raise HostError(sentence(str(error))) from error
    except E3Error:
        raise


def sentence(output: str) -> str:
    """Return why a command of Pulumi failed: the errors that it shows."""
    lines = [line.strip() for line in output.splitlines()]
    told = [line.partition("error:")[2].strip() for line in lines if "error:" in line]
    useful = [line for line in told if line and not line.startswith(("update failed", "preview"))]
    with contextlib.suppress(IndexError):
        return "; ".join(dict.fromkeys(useful or told or [lines[-1]]))
    return "pulumi failed without a word"
