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
	alivePause     = 4 * time.Second // at least
	aliveTimeout   = 3 * time.Second
	mostDials      = 16 // at once, of one node
	closeAgain     = time.Second
	reserveTimeout = 5 * time.Second
	reserveAgain   = 20 * time.Minute // a reservation lasts an hour
	firstPunch     = 4 * time.Second  // until a relayed pair tries again to become direct
	mostPunches    = 3                // after each a pause twice as long
)

// keeper keeps the connections that this node makes, and its reservations at relays.
type keeper struct {
	node    *Node
	mutex   sync.Mutex
	tasks   map[peer.ID]*task
	dialing chan struct{} // has a place for each dial under way
}

type task struct {
	about   settings.Peer
	via     string // the relays, as text: another list is another task
	end     context.CancelFunc
	changed chan struct{} // a connection to the peer has come or gone, or it has been found
}

func newKeeper(n *Node) *keeper {
	return &keeper{node: n, tasks: map[peer.ID]*task{}, dialing: make(chan struct{}, mostDials)}
}

// wake lets the task of a peer look at its connections.
func (k *keeper) wake(id peer.ID) {
	k.mutex.Lock()
	defer k.mutex.Unlock()
	if known := k.tasks[id]; known != nil {
		select {
		case known.changed <- struct{}{}:
		default: // it has been told, and has not looked yet
		}
	}
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
		made := &task{other, via, end, make(chan struct{}, 1)}
		k.tasks[other.ID] = made
		if other.Dials {
			go k.connect(ctx, made, circuits)
		}
		if reserves {
			go k.reserve(ctx, other)
		}
	}
}

// connect keeps a connection to a peer until the context ends: at its addresses, or else where it is found
// and by relays.
func (k *keeper) connect(ctx context.Context, own *task, circuits []multiaddr.Multiaddr) {
	other, at := own.about, own.about.Addresses
	if len(at) == 0 {
		at = circuits
	}
	pause, again := firstPause, firstPause // until the next look, and until the next dial after one that fails
	var changed chan struct{}              // only with a connection: a peer that refuses us is not dialled at once
	punches := 0
	var punchAt, checked time.Time
	for rest(ctx, changed, pause) {
		c := k.node.best(other.ID)
		changed = nil
		switch {
		case c == nil:
			places := at
			if len(other.Addresses) == 0 {
				places = slices.Concat(k.node.finder.find(ctx, other.ID), at)
			}
			if len(places) == 0 {
				pause, changed = longestPause, own.changed // until it is found
				continue
			}
			if err := k.dial(ctx, other, places); err != nil && again == longestPause {
				complain("cannot connect to", other, err)
			}
			pause, again = again, min(2*again, longestPause)
			punchAt, checked = time.Now().Add(firstPunch<<punches), time.Now()
		case k.node.looks() && time.Since(checked) >= k.node.alivePause() && k.node.alive(c) != nil:
			_ = c.Close() // it died without a word
			pause, again, punches = firstPause, firstPause, 0
		case other.Punches && relayed(c) && punches < mostPunches && time.Now().After(punchAt) &&
			k.node.doors.idle(other.ID):
			// The peer tries to become direct when a relayed connection arrives, once. Where both had
			// just begun, it was too early.
			punches++
			_ = c.Close()
			pause = 0
		default:
			if time.Since(checked) >= k.node.alivePause() {
				checked = time.Now()
				again = firstPause
			}
			pause, changed = k.node.alivePause(), own.changed
			if k.closeRelayed(other.ID, c) {
				pause = closeAgain
			}
		}
	}
}

func (k *keeper) dial(ctx context.Context, other settings.Peer, at []multiaddr.Multiaddr) error {
	select {
	case k.dialing <- struct{}{}:
		defer func() { <-k.dialing }()
	case <-ctx.Done():
		return ctx.Err()
	}
	ctx, cancel := context.WithTimeout(ctx, k.node.patience(dialTimeout))
	defer cancel()
	ctx = network.WithAllowLimitedConn(ctx, "e3")
	k.node.host.Peerstore().ClearAddrs(other.ID) // those that it told others of itself
	if dialler, ok := k.node.host.Network().(*swarm.Swarm); ok {
		dialler.Backoff().Clear(other.ID) // the pauses are those of the keeper
	}
	return k.node.host.Connect(ctx, peer.AddrInfo{ID: other.ID, Addrs: at})
}

// closeRelayed closes the connections by relays once a direct one has been there for a while and nobody
// uses them; it returns whether there still are any beside a direct one.
func (k *keeper) closeRelayed(id peer.ID, best network.Conn) bool {
	if relayed(best) {
		return false
	}
	left := false
	for _, each := range k.node.host.Network().ConnsToPeer(id) {
		switch {
		case !relayed(each):
		case time.Since(best.Stat().Opened) < closeAgain || slices.ContainsFunc(each.GetStreams(), ours):
			left = true
		default:
			_ = each.Close()
		}
	}
	return left
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

// rest returns after a while, or at a change; whether the context is still there.
func rest(ctx context.Context, changed <-chan struct{}, most time.Duration) bool {
	timer := time.NewTimer(most)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-changed:
	case <-timer.C:
	}
	return ctx.Err() == nil
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
