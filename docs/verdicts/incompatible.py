"""Party 2 calls party 1 as if it were party 0: the verdict is incompatible."""

import socket
import time

from mpyc.runtime import mpc

if mpc.pid == 0:
    time.sleep(2)  # party 2 comes first
if mpc.pid == 2:
    target = mpc.parties[1]
    while True:
        try:
            own = (mpc.parties[2].host, 0)
            caller = socket.create_connection((target.host, target.port), source_address=own)
            break
        except ConnectionRefusedError:
            continue
    caller.sendall(bytes(2 + 64))
    time.sleep(10)
mpc.run(mpc.start())
mpc.run(mpc.shutdown())
