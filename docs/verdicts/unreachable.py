"""Parties 0 and 1 break their connection, then wait for each other: unreachable."""

import time

from mpyc.runtime import mpc

mpc.run(mpc.start())
if mpc.pid == 1:
    mpc.parties[0].protocol.transport.abort()
mpc.run(mpc.output(mpc.SecInt()(1)))
time.sleep(60)
