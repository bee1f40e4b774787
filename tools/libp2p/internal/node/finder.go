package node

import (
	"context"
	"slices"
	"sync"
	"time"

	dht "github.com/libp2p/go-libp2p-kad-dht"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/discovery/mdns"
	"github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"

	"e3/tools/libp2p/internal/settings"
)

const (
	mdnsService = "_e3-libp2p._udp"
	dhtPrefix   = "/e3"
	findTimeout = 5 * time.Second
	mostPlaces  = 16 // of one neighbour
)

// finder finds the addresses of peers that the settings do not have. Whoever is found is connected to by
// the peer ID that the settings have, so a wrong answer leads nowhere.
type finder interface {
	find(ctx context.Context, id peer.ID) []multiaddr.Multiaddr
	close()
}

func (n *Node) newFinder(asked *settings.Settings) (finder, error) {
	switch asked.Discovery {
	case settings.MDNS:
		return newNeighbours(n)
	case settings.DHT:
		return newTable(n, asked)
	}
	return nobody{}, nil
}

type nobody struct{}

func (nobody) find(context.Context, peer.ID) []multiaddr.Multiaddr { return nil }
func (nobody) close()                                              {}

// neighbours are members that answer by multicast DNS on a network of this host. All hosts there read the
// peer ID and the addresses of each.
type neighbours struct {
	node    *Node
	service mdns.Service
	mutex   sync.Mutex
	found   map[peer.ID][]multiaddr.Multiaddr
}

func newNeighbours(n *Node) (*neighbours, error) {
	made := &neighbours{node: n, found: map[peer.ID][]multiaddr.Multiaddr{}}
	made.service = mdns.NewMdnsService(n.host, mdnsService, made)
	return made, made.service.Start()
}

// HandlePeerFound keeps the addresses that are told of a member, beside those told before: anybody on the
// network can tell wrong ones.
func (f *neighbours) HandlePeerFound(info peer.AddrInfo) {
	if !f.node.member(info.ID) {
		return
	}
	defer f.node.keeper.wake(info.ID)
	f.mutex.Lock()
	defer f.mutex.Unlock()
	known := f.found[info.ID]
	for _, at := range info.Addrs {
		_, err := manet.ToIP(at)
		if err == nil && !manet.IsIPLoopback(at) && !multiaddr.Contains(known, at) {
			known = append(known, at)
		}
	}
	f.found[info.ID] = known[max(0, len(known)-mostPlaces):]
}

func (f *neighbours) find(_ context.Context, id peer.ID) []multiaddr.Multiaddr {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	return slices.Clone(f.found[id])
}

func (f *neighbours) close() { _ = f.service.Close() }

// table is a distributed hash table of the members, who alone can connect to it. Those whom a member
// asks learn for whom it looks.
type table struct {
	node *Node
	dht  *dht.IpfsDHT
}

func newTable(n *Node, asked *settings.Settings) (*table, error) {
	mode := dht.ModeServer
	if asked.Hidden {
		mode = dht.ModeClient
	}
	made, err := dht.New(
		n.host, dht.Mode(mode), dht.ProtocolPrefix(dhtPrefix), dht.AddressFilter(nil),
		dht.DisableProviders(), dht.DisableValues(),
		dht.BootstrapPeersFunc(func() []peer.AddrInfo { return n.relayPlaces() }),
	)
	return &table{n, made}, err
}

func (n *Node) relayPlaces() []peer.AddrInfo {
	var found []peer.AddrInfo
	for _, other := range n.settings.Load().Peers {
		if other.Relays {
			found = append(found, peer.AddrInfo{ID: other.ID, Addrs: other.Addresses})
		}
	}
	return found
}

func (f *table) find(ctx context.Context, id peer.ID) []multiaddr.Multiaddr {
	ctx, cancel := context.WithTimeout(ctx, f.node.patience(findTimeout))
	defer cancel()
	found, err := f.dht.FindPeer(ctx, id)
	if err != nil {
		return nil
	}
	return found.Addrs
}

func (f *table) close() { _ = f.dht.Close() }
