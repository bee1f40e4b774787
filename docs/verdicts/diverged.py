"""Each party prints its own index: the verdict is diverged, where e3:compare is same."""

from mpyc.runtime import mpc

mpc.run(mpc.start())
print(mpc.pid)
mpc.run(mpc.shutdown())
