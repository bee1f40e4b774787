"""All parties compute for ever: the verdict is timed-out, by the deadline."""

import time

from mpyc.runtime import mpc

mpc.run(mpc.start())
print("computing", flush=True)
while True:
    time.sleep(1)
