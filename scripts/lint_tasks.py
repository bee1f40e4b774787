"""Refuse tasks that no block holds: `create_task` of anything but a `TaskGroup`, and executors.

    python scripts/lint_tasks.py FOLDER...

ruff refuses asyncio's own functions (pyproject.toml: banned-api), but no method of whatever is a
loop. A call with `# outlives: REASON` beside it or above is let through.
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

METHODS = frozenset({"create_task", "run_in_executor", "run_coroutine_threadsafe"})
REASON = "# outlives: "


def faults(path: Path) -> Iterator[str]:
    """Yield a sentence for each call in a file that begins what may outlive its caller."""
    text = path.read_text()
    lines = text.splitlines()
    tree = ast.parse(text)
    # what ruff looks after, and what holds its tasks
    known = {"asyncio", *(name for node in ast.walk(tree) for name in _groups(node))}
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        owner = node.func.value
        held = isinstance(owner, ast.Name) and owner.id in known
        near = "".join(lines[max(node.lineno - 2, 0) : node.end_lineno])
        if node.func.attr in METHODS and not held and REASON not in near:
            yield f"{path}:{node.lineno}: {node.func.attr} of no asyncio.TaskGroup"


def _groups(node: ast.AST) -> Iterator[str]:
    """Yield the names that an `async with` gives to groups of tasks."""
    if isinstance(node, ast.AsyncWith):
        for item in node.items:
            made = ast.unparse(item.context_expr)
            if made.endswith("TaskGroup()") and isinstance(item.optional_vars, ast.Name):
                yield item.optional_vars.id


def main(folders: list[str]) -> None:
    """Print what is wrong in these folders; exit with 1 if anything is."""
    files = sorted(file for folder in folders for file in Path(folder).rglob("*.py"))
    found = [fault for file in files for fault in faults(file)]
    if found:
        sys.exit("\n".join(found))


if __name__ == "__main__":
    main(sys.argv[1:])
