package link

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"e3/tools/tunnel/internal/wire"
)

// Kind says how datagrams take a path. The order is that of preference.
type Kind int

// The kinds of paths.
const (
	Host Kind = iota
	IPv6
	Reflexive
	Relay
	TCP
	TCPRelay
	kinds
)

var kindNames = [kinds]string{"host", "ipv6", "reflexive", "relay", "tcp", "tcp-relay"}

// String returns the name that control uses.
func (k Kind) String() string { return kindNames[k] }

// KindNamed returns the kind of that name.
func KindNamed(name string) (Kind, bool) {
	for kind, known := range kindNames {
		if name == known {
			return Kind(kind), true
		}
	}
	return 0, false
}

func (k Kind) direct() bool  { return k <= Reflexive }
func (k Kind) overUDP() bool { return k <= Relay }

// source is where a datagram came from: an address, a channel of a relay at it, or a connection.
type source struct {
	address netip.AddrPort
	channel uint16
	stream  *stream
}

// Path is one way to a peer. All but the counters is guarded by Link.mutex.
type Path struct {
	peer *Peer
	kind Kind
	from source

	sentBytes, heardBytes atomic.Uint64

	rtt        time.Duration
	asked      time.Time // when the last check was sent
	answered   time.Time // when the last answer came, zero if none did
	unanswered int       // checks since then
}

var framePool = sync.Pool{New: func() any { buffer := make([]byte, 0, 2048); return &buffer }}

// heard counts what came by a path, if there is one.
func (p *Path) heard(size int) {
	if p != nil && size > 0 {
		p.heardBytes.Add(uint64(size))
	}
}

// send passes datagrams on this path.
func (p *Path) send(b *Bind, buffers [][]byte) error {
	switch {
	case p.from.stream != nil:
		for _, buffer := range buffers {
			p.from.stream.send(buffer)
		}
		return nil
	case p.from.channel != 0:
		return sendFrames(b, p.from, buffers)
	}
	return b.send(p.from.address, buffers...)
}

func sendFrames(b *Bind, to source, buffers [][]byte) error {
	framed := make([][]byte, len(buffers))
	taken := make([]*[]byte, len(buffers))
	for i, buffer := range buffers {
		taken[i] = framePool.Get().(*[]byte)
		framed[i] = wire.AppendFrame((*taken[i])[:0], to.channel, buffer)
	}
	err := b.send(to.address, framed...)
	for i, buffer := range taken {
		if cap(framed[i]) <= wire.MaxDatagram {
			*buffer = framed[i][:0]
		}
		framePool.Put(buffer)
	}
	return err
}

// alive tells whether the peer has answered on this path lately.
func (p *Path) alive(now time.Time) bool {
	if p.answered.IsZero() || (p.from.stream != nil && p.from.stream.dead()) {
		return false
	}
	return p.unanswered < lostChecks || now.Sub(p.answered) < staleAfter
}

// due tells whether it is time to check this path.
func (p *Path) due(now time.Time) bool {
	if p.from.stream != nil && p.from.stream.queue == nil {
		return false // it carries no datagrams, and tells itself when it is over
	}
	since, alive, current := now.Sub(p.asked), p.alive(now), p.peer.current.Load()
	switch {
	case alive && p.unanswered > 0:
		return since >= max(retryAfter, 2*p.rtt)
	case alive && current == p:
		return since >= currentEvery
	case alive && (current == nil || current.unanswered > 1):
		return since >= retryAfter // the path in use is in doubt: is this one better?
	case alive:
		return since >= spareEvery
	case now.Sub(p.peer.searching) < hurryFor:
		return since >= hurryEvery
	case now.Sub(p.peer.searching) < searchFor:
		return since >= searchEvery
	}
	return since >= deadEvery
}

const (
	answerEvery  = 5 * time.Millisecond  // where the peer's own checks arrive
	hurryEvery   = 50 * time.Millisecond // when a peer begins to be sought
	hurryFor     = time.Second
	searchEvery  = 200 * time.Millisecond
	searchFor    = 5 * time.Second
	currentEvery = time.Second // on the path in use
	spareEvery   = 5 * time.Second
	deadEvery    = 10 * time.Second // where nobody answers: it may become possible
	retryAfter   = 500 * time.Millisecond
	lostChecks   = 3
	staleAfter   = 2 * time.Second
)
