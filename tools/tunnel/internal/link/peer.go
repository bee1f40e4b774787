package link

import (
	"encoding/binary"
	"net/netip"
	"sync/atomic"
	"time"

	"e3/tools/tunnel/internal/wire"
)

const (
	// MaxCandidates is how many addresses a peer may announce.
	MaxCandidates = 32
	maxPaths      = 48 // with those that are found by its own checks
)

// Candidate is an address at which a party may be reached.
type Candidate struct {
	Kind    Kind
	Address netip.AddrPort
}

// Grant is what a relay has promised one side of a pair; an address that is not valid is absent.
type Grant struct {
	UDP, TCP netip.AddrPort
	Token    wire.Token
}

// PeerConfig is what the parties have agreed about a peer.
type PeerConfig struct {
	ID          int
	Name        string // as WireGuard names its endpoint
	Pair        wire.Pair
	Controlling bool // this side dials by TCP
	Certificate [32]byte
	Candidates  []Candidate
	Relay       *Grant
}

// Peer is another party, and the endpoint that WireGuard knows. All but `current` is guarded by
// Link.mutex.
type Peer struct {
	PeerConfig
	current   atomic.Pointer[Path]
	paths     []*Path
	searching time.Time // since when there is no path, or since when better ones are sought
	relay     *channel

	lacksUDP     time.Time // since when no datagram reaches it, zero while one does
	reachedSince time.Time
	dialing      bool // by TCP
	again        int  // how often it was dialled although a relay joins the two by TCP
	dialNext     time.Time
}

// ClearSrc does nothing: the kernel chooses source addresses.
func (p *Peer) ClearSrc() {}

// SrcToString returns nothing, for the same reason.
func (p *Peer) SrcToString() string { return "" }

// DstToString returns the peer's name.
func (p *Peer) DstToString() string { return p.Name }

// DstToBytes returns bytes that stand for the peer in cookies.
func (p *Peer) DstToBytes() []byte { return []byte(p.Name) }

// DstIP returns an address that stands for the peer where WireGuard limits handshakes by address.
func (p *Peer) DstIP() netip.Addr {
	var raw [4]byte
	binary.BigEndian.PutUint32(raw[:], uint32(p.ID))
	return netip.AddrFrom4(raw)
}

// SrcIP returns no address.
func (p *Peer) SrcIP() netip.Addr { return netip.Addr{} }

// path returns the path to that place, nil if there is none.
func (p *Peer) path(to source) *Path {
	for _, path := range p.paths {
		if path.from == to {
			return path
		}
	}
	return nil
}

// best returns the living path to be used: the current one unless it is dead or one of a better
// kind lives.
func (p *Peer) best(now time.Time) *Path {
	current := p.current.Load()
	if current != nil && !current.alive(now) {
		current = nil
	}
	best := current
	for _, path := range p.paths {
		if !path.alive(now) {
			continue
		}
		if best == nil || path.kind < best.kind ||
			(path.kind == best.kind && best != current && path.rtt < best.rtt) {
			best = path
		}
	}
	return best
}

// reached tells whether a living path of UDP exists.
func (p *Peer) reached(now time.Time) bool {
	for _, path := range p.paths {
		if path.kind.overUDP() && path.alive(now) {
			return true
		}
	}
	return false
}
