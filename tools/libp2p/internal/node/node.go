// Package node is a member of a fleet: it connects to its peers and forwards connections to them.
//
// Each peer has a loopback address of its own, the same on all hosts. What connects to it here is
// forwarded to the peer of that address, where it arrives from the address of this node. So the
// address of a connection tells which member made it: libp2p has authenticated it by its key.
package node

import (
	"log"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/connmgr"
	"github.com/libp2p/go-libp2p/core/control"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	rcmgr "github.com/libp2p/go-libp2p/p2p/host/resource-manager"
	"github.com/libp2p/go-libp2p/p2p/muxer/yamux"
	"github.com/libp2p/go-libp2p/p2p/net/upgrader"
	"github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/relay"
	"github.com/libp2p/go-libp2p/p2p/protocol/holepunch"
	"github.com/libp2p/go-libp2p/p2p/protocol/identify"
	"github.com/libp2p/go-libp2p/p2p/protocol/ping"
	"github.com/libp2p/go-libp2p/p2p/security/noise"
	libp2ptls "github.com/libp2p/go-libp2p/p2p/security/tls"
	"github.com/libp2p/go-libp2p/x/rate"
	"github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"

	"e3/tools/libp2p/internal/settings"
)

// Version is that of the settings; e3/overlays/libp2p.py writes them.
const Version = "2"

const (
	settingsFile = "settings.json"
	socketFile   = "socket"
	punchTimeout = 3 * time.Second
	relayBuffer  = 64 << 10
	mostPeers    = 1 << 12
	mostUpgrades = 256 // connections whose handshakes are under way at once
)

// connectionsOfASite are more than its members need, and few enough for handshakes with strangers.
var connectionsOfASite = rate.Limit{RPS: 20, Burst: 1000}

// Node serves settings, which may change while it runs.
type Node struct {
	host     host.Host
	settings atomic.Pointer[settings.Settings]
	doors    *doors
	keeper   *keeper
	finder   finder
}

// Serve serves the settings in a folder until it is told to end; SIGHUP reads them again.
func Serve(folder, key string) error {
	signals := make(chan os.Signal, 1) // from the first moment on, as SIGHUP would end the program
	signal.Notify(signals, syscall.SIGHUP, syscall.SIGTERM, syscall.SIGINT)
	asked, err := settings.Read(filepath.Join(folder, settingsFile))
	if err != nil {
		return err
	}
	node := &Node{}
	node.settings.Store(asked)
	if err := node.start(key); err != nil {
		return err
	}
	defer node.host.Close()
	defer node.finder.close()
	socket, err := node.answer(filepath.Join(folder, socketFile))
	if err != nil {
		return err
	}
	defer socket.Close()
	for received := range signals {
		if received != syscall.SIGHUP {
			break
		}
		changed, err := settings.Read(filepath.Join(folder, settingsFile))
		if err != nil {
			log.Print("the settings stay as they were: ", err)
			continue
		}
		node.apply(changed)
	}
	return nil
}

func (n *Node) start(key string) error {
	identity, err := readKey(key)
	if err != nil {
		return err
	}
	routeBenchmarkRanges()
	upgrader.AcceptQueueLength = mostUpgrades // of libp2p's 16, each takes some round trips
	resources, err := resources()
	if err != nil {
		return err
	}
	asked := n.settings.Load()
	options := []libp2p.Option{
		libp2p.Identity(identity),
		libp2p.ListenAddrs(asked.Listen...),
		libp2p.AddrsFactory(func([]multiaddr.Multiaddr) []multiaddr.Multiaddr { return asked.Announce }),
		libp2p.ConnectionGater(n),
		libp2p.ConnectionManager(connmgr.NullConnMgr{}), // nobody but peers connects
		libp2p.ResourceManager(resources),
		libp2p.UserAgent("e3"),
		libp2p.DisableMetrics(),
		libp2p.Muxer(yamux.ID, n.muxer()),
		// libp2p would give up a whole protocol because peers without it cannot be dialled by it.
		libp2p.IPv6BlackHoleSuccessCounter(nil),
		libp2p.UDPBlackHoleSuccessCounter(nil),
		libp2p.EnableHolePunching(holepunch.DirectDialTimeout(punchTimeout)),
	}
	if asked.Security == "tls" {
		options = append(options, libp2p.Security(libp2ptls.ID, newTLS))
	} else {
		options = append(options, libp2p.Security(noise.ID, noise.New))
	}
	if asked.Hidden {
		options = append(options, libp2p.ForceReachabilityPrivate())
	} else {
		options = append(options, libp2p.ForceReachabilityPublic())
	}
	if asked.Relays {
		options = append(options, libp2p.EnableRelayService(
			relay.WithResources(relayResources()), relay.WithACL(n),
		))
	}
	if n.host, err = libp2p.New(options...); err != nil {
		return err
	}
	n.doors = newDoors(n)
	n.keeper = newKeeper(n)
	n.host.Network().Notify(&network.NotifyBundle{ConnectedF: n.connected, DisconnectedF: n.disconnected})
	n.host.SetStreamHandler(protocolID, n.arrive)
	if n.finder, err = n.newFinder(asked); err != nil {
		return err
	}
	n.apply(asked)
	return nil
}

// apply serves exactly these peers; it touches only what changed.
func (n *Node) apply(asked *settings.Settings) {
	n.settings.Store(asked)
	for _, id := range n.host.Network().Peers() {
		if _, known := asked.Other(id); !known {
			_ = n.host.Network().ClosePeer(id)
		}
	}
	n.doors.open(asked)
	n.keeper.keep(asked)
}

// crowd is a time that grows with the number of pairs: what each member of a lab does for each other one
// is done by one machine. It is 36 ms with six peers, 2.5 s with fifty, and 90 s with three hundred.
func (n *Node) crowd() time.Duration {
	peers := len(n.settings.Load().Peers)
	return time.Duration(peers*peers) * time.Millisecond
}

// alivePause is the time between two signs of life of a connection.
func (n *Node) alivePause() time.Duration { return max(alivePause, 4*n.crowd()) }

// looks says whether this node itself looks for dead connections. That negotiates a stream, which takes both
// ends 3 ms of a processor, but is sooner than the muxer's own signs of life. Among many members it is not.
func (n *Node) looks() bool { return n.alivePause() < yamux.DefaultTransport.KeepAliveInterval }

// patience is how long an answer may take that usually comes within a given time.
func (n *Node) patience(usually time.Duration) time.Duration { return usually + n.crowd()/4 }

// muxer is libp2p's usual one, except that among many members its signs of life are rarer: each end of a
// connection sends one every 30 s, and ends the connection if it is not answered within 10 s.
func (n *Node) muxer() *yamux.Transport {
	asking := *yamux.DefaultTransport
	asking.KeepAliveInterval = max(asking.KeepAliveInterval, n.alivePause())
	asking.MeasureRTTInterval = asking.KeepAliveInterval
	asking.ConnectionWriteTimeout += n.crowd()
	return &asking
}

// resources are libp2p's usual ones, except that one network may have many members: behind a NAT they
// share an IPv4 address, and a site shares an IPv6 prefix. Its usual limits of connections and streams
// follow from the machine's memory; on one of 4 GB the 97th peer that connects would be refused.
func resources() (network.ResourceManager, error) {
	limits := rcmgr.DefaultLimits
	libp2p.SetDefaultServiceLimits(&limits)
	streams := rcmgr.ResourceLimits{
		Streams: mostStreams, StreamsInbound: mostStreams, StreamsOutbound: mostStreams,
	}
	all := streams
	all.Conns, all.ConnsInbound, all.ConnsOutbound = 2*mostPeers, 2*mostPeers, 2*mostPeers
	shaking := all
	shaking.Conns, shaking.ConnsInbound, shaking.ConnsOutbound = 2*mostUpgrades, 2*mostUpgrades, 2*mostUpgrades
	raised := rcmgr.PartialLimitConfig{
		System:    all,
		Transient: shaking,
		Service:   map[string]rcmgr.ResourceLimits{ping.ServiceName: streams, identify.ServiceName: streams},
		Protocol: map[protocol.ID]rcmgr.ResourceLimits{
			ping.ID: streams, identify.ID: streams, identify.IDPush: streams, protocolID: streams,
		},
		// libp2p's usual two pings of a peer at once are too few: one more would look like a dead connection.
		ServicePeer:  map[string]rcmgr.ResourceLimits{ping.ServiceName: streams},
		ProtocolPeer: map[protocol.ID]rcmgr.ResourceLimits{ping.ID: streams, protocolID: streams},
	}
	return rcmgr.NewResourceManager(
		rcmgr.NewFixedLimiter(raised.Build(limits.AutoScale())),
		rcmgr.WithLimitPerSubnet(
			[]rcmgr.ConnLimitPerSubnet{{PrefixLength: 32, ConnCount: mostPeers}},
			[]rcmgr.ConnLimitPerSubnet{{PrefixLength: 56, ConnCount: mostPeers}},
		),
		rcmgr.WithConnRateLimiters(&rate.Limiter{SubnetRateLimiter: rate.SubnetLimiter{
			IPv4SubnetLimits: []rate.SubnetLimit{{PrefixLength: 32, Limit: connectionsOfASite}},
			IPv6SubnetLimits: []rate.SubnetLimit{{PrefixLength: 56, Limit: connectionsOfASite}},
		}}),
	)
}

// relayResources are without the limits of a public relay, as members alone use it.
func relayResources() relay.Resources {
	resources := relay.DefaultResources()
	resources.Limit = nil
	resources.MaxReservations = mostPeers
	resources.MaxCircuits = mostPeers
	resources.MaxReservationsPerIP = mostPeers // behind one NAT
	resources.MaxReservationsPerASN = mostPeers
	resources.BufferSize = relayBuffer
	return resources
}

// routeBenchmarkRanges lets libp2p dial 198.18.0.0/15 (RFC 2544) and 2001:2::/48 (RFC 5180), which are
// the underlay of E3's lab.
func routeBenchmarkRanges() {
	manet.Unroutable4 = without(manet.Unroutable4, net.IPv4(198, 18, 0, 0))
	manet.Unroutable6 = without(manet.Unroutable6, net.ParseIP("2001:2::"))
}

func without(ranges []*net.IPNet, begin net.IP) []*net.IPNet {
	return slices.DeleteFunc(slices.Clone(ranges), func(r *net.IPNet) bool { return r.IP.Equal(begin) })
}

func (n *Node) member(id peer.ID) bool {
	_, known := n.settings.Load().Other(id)
	return known
}

// InterceptPeerDial lets only peers be dialled.
func (n *Node) InterceptPeerDial(id peer.ID) bool { return n.member(id) }

// InterceptAddrDial lets a peer be dialled at any of its addresses.
func (n *Node) InterceptAddrDial(peer.ID, multiaddr.Multiaddr) bool { return true }

// InterceptAccept lets anybody begin a handshake, which shows who it is.
func (n *Node) InterceptAccept(network.ConnMultiaddrs) bool { return true }

// InterceptSecured lets only peers in.
func (n *Node) InterceptSecured(_ network.Direction, id peer.ID, _ network.ConnMultiaddrs) bool {
	return n.member(id)
}

// InterceptUpgraded has nothing to add.
func (n *Node) InterceptUpgraded(network.Conn) (bool, control.DisconnectReason) { return true, 0 }

// AllowReserve lets only peers use this node as relay.
func (n *Node) AllowReserve(id peer.ID, _ multiaddr.Multiaddr) bool { return n.member(id) }

// AllowConnect lets only peers be joined with each other.
func (n *Node) AllowConnect(from peer.ID, _ multiaddr.Multiaddr, to peer.ID) bool {
	return n.member(from) && n.member(to)
}

var _ relay.ACLFilter = (*Node)(nil)

func complain(what string, about settings.Peer, err error) {
	log.Printf("%s %s: %v", what, about.Name, err)
}
