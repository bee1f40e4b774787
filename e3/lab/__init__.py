"""The embedded lab: hosts as namespaces of this machine, in regions joined by an emulated WAN.

One lab is one daemon process (`e3.lab.daemon`), controlled through a socket in its folder
(`e3.lab.client`). Everything it makes hangs on that process: namespaces have no names, hosts
die with it, so its end, however sudden, leaves nothing behind.
"""
