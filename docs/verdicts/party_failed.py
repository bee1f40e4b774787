"""Party 1 fails: the verdict is party-failed, and names its error."""

from mpyc.runtime import mpc

mpc.run(mpc.start())
if mpc.pid == 1:
    raise ValueError("one share too few")
mpc.run(mpc.output(mpc.SecInt()(1)))
mpc.run(mpc.shutdown())
