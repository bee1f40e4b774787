"""The embedded lab: hosts as namespaces of this machine, in regions joined by an emulated WAN.

One lab is one daemon process (`e3.lab.daemon`), controlled through a socket in its folder
(`e3.lab.client`). Everything it makes lives as long as that process: namespaces have no names, and
hosts die with it. So nothing is left behind, however suddenly it ends.
"""
