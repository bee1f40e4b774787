module github.com/DefinedNet/netlink

go 1.24

require github.com/vishvananda/netlink v1.3.1
