"""Delete all entries of the kernel's connection table at once, as a reboot of a router does.

One netlink message, so that no tool has to be installed. Numbers and structures are those of
the Linux UAPI headers (netfilter/nfnetlink.h, netfilter/nfnetlink_conntrack.h, netlink.h).
"""

import os
import socket
import struct

from e3.errors import LabError

NETLINK_NETFILTER = 12
DELETE_FLOWS = 1 << 8 | 2  # NFNL_SUBSYS_CTNETLINK, IPCTNL_MSG_CT_DELETE
NLM_F_REQUEST, NLM_F_ACK = 0x1, 0x4
NLMSG_ERROR = 2
MESSAGE = struct.Struct("=IHHIIBBH")  # struct nlmsghdr and struct nfgenmsg
ANSWER = struct.Struct("=IHHIIi")  # struct nlmsghdr and struct nlmsgerr, as far as its number
ANSWER_SECONDS = 10.0


def forget_flows() -> None:
    """Delete all flows in the connection table of the current network namespace.

    Raises `LabError` if the kernel cannot do that.
    """
    # without attributes that would select some flows, of any address family
    request = MESSAGE.pack(
        MESSAGE.size, DELETE_FLOWS, NLM_F_REQUEST | NLM_F_ACK, 1, 0, socket.AF_UNSPEC, 0, 0
    )
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER) as netlink:
            netlink.settimeout(ANSWER_SECONDS)
            netlink.send(request)
            _, kind, _, _, _, error = ANSWER.unpack_from(netlink.recv(4096))
    except OSError as problem:
        raise LabError(f"the kernel's flows cannot be forgotten: {problem.strerror}") from problem
    if kind != NLMSG_ERROR or error:
        raise LabError(
            f"the kernel does not forget its flows ({os.strerror(-error)}); a NAT can be rebooted "
            "where nf_conntrack_netlink is there: run `sudo modprobe nf_conntrack_netlink`"
        )
