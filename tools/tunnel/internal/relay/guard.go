package relay

import (
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

const (
	requestsPerSecond = 50 // of one source address; a party behind a NAT needs a few
	requestBurst      = 200
	maxSources        = 20000
	sourceIdle        = 10 * time.Second
	maxPerSource      = 128 // connections of TCP
)

// guard limits what one source address may ask for: an IPv6 source is its /64, as one customer has.
type guard struct {
	mutex   sync.Mutex
	sources map[netip.Addr]*sourceState
}

type sourceState struct {
	limiter     *rate.Limiter
	seen        time.Time
	connections int
}

func newGuard() *guard { return &guard{sources: map[netip.Addr]*sourceState{}} }

func customer(address netip.Addr) netip.Addr {
	if address = address.Unmap(); address.Is6() {
		prefix, err := address.WithZone("").Prefix(64)
		if err == nil {
			return prefix.Addr()
		}
	}
	return address
}

func (g *guard) state(address netip.Addr, now time.Time) *sourceState {
	key := customer(address)
	known := g.sources[key]
	if known == nil {
		if len(g.sources) >= maxSources {
			return nil
		}
		known = &sourceState{limiter: rate.NewLimiter(requestsPerSecond, requestBurst)}
		g.sources[key] = known
	}
	known.seen = now
	return known
}

// request tells whether a source may have another answer.
func (g *guard) request(address netip.Addr, now time.Time) bool {
	g.mutex.Lock()
	defer g.mutex.Unlock()
	known := g.state(address, now)
	return known != nil && known.limiter.AllowN(now, 1)
}

// connect tells whether a source may have another connection, which `disconnect` gives back.
func (g *guard) connect(address netip.Addr, now time.Time) bool {
	g.mutex.Lock()
	defer g.mutex.Unlock()
	known := g.state(address, now)
	if known == nil || known.connections >= maxPerSource {
		return false
	}
	known.connections++
	return true
}

func (g *guard) disconnect(address netip.Addr) {
	g.mutex.Lock()
	defer g.mutex.Unlock()
	if known := g.sources[customer(address)]; known != nil {
		known.connections--
	}
}

func (g *guard) sweep(now time.Time) {
	g.mutex.Lock()
	defer g.mutex.Unlock()
	for address, known := range g.sources {
		if known.connections == 0 && now.Sub(known.seen) > sourceIdle {
			delete(g.sources, address)
		}
	}
}
