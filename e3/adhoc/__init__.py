"""Sessions that parties conduct themselves, without a deployer: `e3 invite` and `e3 join`.

`people` has the user's identity and whom they know, `room` the namespaces in which another
person's program runs, `links` the tunnels to the peers, `meeting` the way from an invitation to
connected parties, and `conduct` runs this machine's own party by E3's runner.
"""
