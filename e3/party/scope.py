"""Limits signals and abstract sockets of a program to processes that it started itself.

Neither the view of files nor network rules cover them: a service of the host that listens at an
abstract address (unix(7)) is open to all programs in its network namespace. Linux has these scopes
since 6.12, as a part of Landlock; older kernels have nothing like it.
"""

from __future__ import annotations

import ctypes
import os

from e3.remote.linux import call

CREATE_RULESET, RESTRICT_SELF = 444, 446
"""Numbers of system calls, the same on every architecture."""

ABSTRACT_SOCKETS, SIGNALS = 0x1, 0x2


def keep_apart() -> bool:
    """Separate this process, and all that it starts, from others; return whether the kernel can.

    The process must have given up new privileges before.
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
