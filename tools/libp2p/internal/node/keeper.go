package node

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/net/swarm"
	"github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/client"
	"github.com/multiformats/go-multiaddr"

	"e3/tools/libp2p/internal/settings"
)

const (
	dialTimeout    = 5 * time.Second
	firstPause     = 100 * time.Millisecond
	longestPause   = 2 * time.Second
	alivePause     = 4 * time.Second
	aliveTimeout   = 3 * time.Second
	reserveTimeout = 5 * time.Second
	reserveAgain   = 20 * time.Minute // a reservation lasts an hour
	firstPunch     = 4 * time.Second  // until a relayed pair tries again to become direct
	mostPunches    = 3                // after each a pause twice as long
)

// keeper keeps the connections that this node makes, and its reservations at relays.
type keeper struct {
	node  *Node
	mutex sync.Mutex
	tasks map[peer.ID]*task
}

type task struct {
	about settings.Peer
	via   string // the relays, as text: another list is another task
	end   context.CancelFunc
}

func newKeeper(n *Node) *keeper {
	return &keeper{node: n, tasks: map[peer.ID]*task{}}
}

// keep keeps the connections of these settings; tasks that stay the same are not disturbed.
func (k *keeper) keep(asked *settings.Settings) {
	k.mutex.Lock()
	defer k.mutex.Unlock()
	circuits := circuitsOf(asked)
	via := textOf(circuits)
	for id, running := range k.tasks {
		if now, known := asked.Other(id); !known || !same(now, running.about) || running.via != via {
			running.end()
			delete(k.tasks, id)
		}
	}
	for _, other := range asked.Peers {
		reserves := asked.Hidden && other.Relays
		if _, running := k.tasks[other.ID]; running || !other.Dials && !reserves {
			continue
		}
		ctx, end := context.WithCancel(context.Background())
		k.tasks[other.ID] = &task{other, via, end}
		if other.Dials {
			go k.connect(ctx, other, circuits)
		}
		if reserves {
			go k.reserve(ctx, other)
		}
	}
}

// connect keeps a connection to a peer until the context ends: at its addresses, or else where it is found
// and by relays.
func (k *keeper) connect(ctx context.Context, other settings.Peer, circuits []multiaddr.Multiaddr) {
	at := other.Addresses
	if len(at) == 0 {
		at = circuits
	}
	pause := firstPause
	punches := 0
	var punchAt time.Time
	for wait(ctx, pause) {
		c := k.node.best(other.ID)
		switch {
		case c == nil:
			places := at
			if len(other.Addresses) == 0 {
				places = slices.Concat(k.node.finder.find(ctx, other.ID), at)
			}
			if len(places) == 0 {
				pause = firstPause // until it is found
				continue
			}
			if err := k.dial(ctx, other, places); err != nil && pause == longestPause {
				complain("cannot connect to", other, err)
			}
			pause = min(2*pause, longestPause)
			punchAt = time.Now().Add(firstPunch << punches)
		case alive(c) != nil:
			_ = c.Close() // it died without a word
			pause, punches = firstPause, 0
		case other.Punches && relayed(c) && punches < mostPunches && time.Now().After(punchAt) &&
			k.node.doors.idle(other.ID):
			// The peer tries to become direct when a relayed connection arrives, once. Where both had
			// just begun, it was too early.
			punches++
			_ = c.Close()
			pause = 0
		default:
			k.closeRelayed(other.ID, c)
			untilClosed(ctx, c, alivePause)
			pause = 0
		}
	}
}

func (k *keeper) dial(ctx context.Context, other settings.Peer, at []multiaddr.Multiaddr) error {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	ctx = network.WithAllowLimitedConn(ctx, "e3")
	k.node.host.Peerstore().ClearAddrs(other.ID) // those that it told others of itself
	if dialler, ok := k.node.host.Network().(*swarm.Swarm); ok {
		dialler.Backoff().Clear(other.ID) // the pauses are those of the keeper
	}
	return k.node.host.Connect(ctx, peer.AddrInfo{ID: other.ID, Addrs: at})
}

// closeRelayed closes the connections by relays once a direct one is there and nobody uses them.
func (k *keeper) closeRelayed(id peer.ID, best network.Conn) {
	if relayed(best) {
		return
	}
	for _, each := range k.node.host.Network().ConnsToPeer(id) {
		if relayed(each) && !slices.ContainsFunc(each.GetStreams(), ours) {
			_ = each.Close()
		}
	}
}

func ours(s network.Stream) bool { return s.Protocol() == protocolID }

// reserve keeps a place at a relay, by which peers reach this node.
func (k *keeper) reserve(ctx context.Context, at settings.Peer) {
	var since network.Conn
	due := time.Now()
	for {
		c := k.node.best(at.ID)
		if c != nil && (c != since || time.Now().After(due)) {
			limited, cancel := context.WithTimeout(ctx, reserveTimeout)
			_, err := client.Reserve(limited, k.node.host, peer.AddrInfo{ID: at.ID})
			cancel()
			if err == nil {
				since, due = c, time.Now().Add(reserveAgain)
			} else if ctx.Err() == nil {
				complain("no place at the relay", at, err)
			}
		}
		if !wait(ctx, firstPause) {
			return
		}
	}
}

// circuitsOf returns the addresses at which relays connect to any peer, whose ID libp2p adds.
func circuitsOf(asked *settings.Settings) []multiaddr.Multiaddr {
	var found []multiaddr.Multiaddr
	for _, other := range asked.Peers {
		if !other.Relays {
			continue
		}
		for _, at := range other.Addresses {
			end, err := multiaddr.NewMultiaddr("/p2p/" + other.ID.String() + "/p2p-circuit")
			if err == nil {
				found = append(found, at.Encapsulate(end))
			}
		}
	}
	return found
}

func textOf(addresses []multiaddr.Multiaddr) string {
	text := ""
	for _, each := range addresses {
		text += each.String() + "\n"
	}
	return text
}

func same(a, b settings.Peer) bool {
	return a.Address == b.Address && a.Dials == b.Dials && a.Relays == b.Relays && a.Punches == b.Punches &&
		textOf(a.Addresses) == textOf(b.Addresses)
}

// untilClosed returns once a connection is closed, after a while in any case.
func untilClosed(ctx context.Context, c network.Conn, most time.Duration) {
	for end := time.Now().Add(most); !c.IsClosed() && time.Now().Before(end); {
		if !wait(ctx, firstPause) {
			return
		}
	}
}

// wait returns whether the context is still there after a while.
func wait(ctx context.Context, pause time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(pause):
		return true
	}
}
