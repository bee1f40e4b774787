// Package netlink stands in for a fork that the module proxy does not serve: what Nebula uses of
// it, from the module that was forked.
package netlink

import "github.com/vishvananda/netlink"

type (
	Addr                  = netlink.Addr
	Destination           = netlink.Destination
	Link                  = netlink.Link
	NexthopInfo           = netlink.NexthopInfo
	Route                 = netlink.Route
	RouteSubscribeOptions = netlink.RouteSubscribeOptions
	RouteUpdate           = netlink.RouteUpdate
	Via                   = netlink.Via
)

const FAMILY_ALL = netlink.FAMILY_ALL

var (
	ErrDumpInterrupted        = netlink.ErrDumpInterrupted
	AddrDel                   = netlink.AddrDel
	AddrList                  = netlink.AddrList
	AddrReplace               = netlink.AddrReplace
	LinkByName                = netlink.LinkByName
	LinkSetIP6AddrGenMode     = netlink.LinkSetIP6AddrGenMode
	RouteDel                  = netlink.RouteDel
	RouteReplace              = netlink.RouteReplace
	RouteSubscribeWithOptions = netlink.RouteSubscribeWithOptions
)
