"""A program speaks, by signals and abstract sockets, to what it started itself and to nobody else.

Neither has a place in the view of files, and rules of a network do not see them: a service of the
host that listens at an abstract address (unix(7)) is open to all programs in its network namespace.
Linux has had these scopes since 6.12, as a part of Landlock; before, there is nothing like it.
"""

from __future__ import annotations

import ctypes
import os

from e3.remote.linux import call

CREATE_RULESET, RESTRICT_SELF = 444, 446
"""The same numbers on every architecture."""

ABSTRACT_SOCKETS, SIGNALS = 0x1, 0x2


def keep_apart() -> bool:
    """Keep this process, and all that it starts, from others; return whether the kernel can.

    It must have given up new privileges.
    """
    rules = (ctypes.c_uint64 * 3)(0, 0, ABSTRACT_SOCKETS | SIGNALS)  # struct landlock_ruleset_attr
    size = ctypes.c_size_t(ctypes.sizeof(rules))
    try:
        made = call(CREATE_RULESET, rules, size, 0, what="landlock")
    except OSError:
        return False
    try:
        call(RESTRICT_SELF, made, 0, what="landlock")
    except OSError:
        return False
    finally:
        os.close(made)
    return True
