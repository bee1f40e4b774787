// Package relay forwards datagrams and connections between the two sides of a grant, and answers
// STUN.
//
// A grant has two tokens (wire.Token), one for each side, an end, a quota and a rate. Nothing
// is forwarded but between its sides, and to a side only where it has shown its token.
package relay

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
	"golang.zx2c4.com/wireguard/conn"

	"e3/tools/tunnel/internal/wire"
)

const (
	// MaxGrants is how many pairs may be granted at a time.
	MaxGrants  = 10000
	sweepEvery = time.Second
	nonceLife  = time.Minute
	minBurst   = 1 << 20 // bytes; a batch of datagrams at once
)

// Grant is what a pair may use.
type Grant struct {
	Tokens  [2]wire.Token
	Bytes   uint64
	Expires time.Time
	Rate    uint64 // bytes a second, both ways together
}

// grant is one in use.
type grant struct {
	Grant
	sides   [2]*side
	used    atomic.Uint64
	limiter *rate.Limiter
}

// side is one end of a grant. All but `grant` and `token` is guarded by Relay.mutex.
type side struct {
	grant   *grant
	token   wire.Token
	other   *side
	at      place
	socket  *conn.StdNetBind
	to      *conn.StdNetEndpoint // nil until the side has shown its token by UDP
	waiting *waiter              // a connection that waits for the other side
	spliced func()               // ends the connection of this side
}

// place is where frames of a side come from.
type place struct {
	address netip.AddrPort
	channel uint16
}

// Relay is a running one.
type Relay struct {
	mutex   sync.RWMutex
	names   map[string]*side
	places  map[place]*side
	secret  [32]byte
	guard   *guard
	sockets []*conn.StdNetBind
	stream  *streams
	done    chan struct{}
	counted counters
}

type counters struct {
	forwarded, dropped, bindings atomic.Uint64
}

// New returns a relay that listens nowhere yet.
func New() (*Relay, error) {
	r := &Relay{
		names: map[string]*side{}, places: map[place]*side{}, guard: newGuard(), done: make(chan struct{}),
	}
	if _, err := rand.Read(r.secret[:]); err != nil {
		return nil, err
	}
	go r.sweep()
	return r, nil
}

// Close ends the relay and all that it forwards.
func (r *Relay) Close() {
	close(r.done)
	for _, socket := range r.sockets {
		_ = socket.Close()
	}
	if r.stream != nil {
		r.stream.close()
	}
	r.mutex.Lock()
	defer r.mutex.Unlock()
	for _, one := range r.names {
		r.drop(one.grant)
	}
}

// Add lets a pair use the relay.
func (r *Relay) Add(wanted Grant) error {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	if len(r.names) >= 2*MaxGrants {
		return fmt.Errorf("there are %d grants already", MaxGrants)
	}
	if wanted.Tokens[0] == wanted.Tokens[1] {
		return errors.New("both sides have the same token")
	}
	burst := max(int(wanted.Rate), minBurst)
	added := &grant{Grant: wanted, limiter: rate.NewLimiter(rate.Limit(wanted.Rate), burst)}
	for i, token := range wanted.Tokens {
		if r.names[token.Name()] != nil {
			return errors.New("a token is in use already")
		}
		added.sides[i] = &side{grant: added, token: token}
	}
	added.sides[0].other, added.sides[1].other = added.sides[1], added.sides[0]
	for _, one := range added.sides {
		r.names[one.token.Name()] = one
	}
	return nil
}

// Remove ends the grant of a token.
func (r *Relay) Remove(token wire.Token) error {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	one := r.names[token.Name()]
	if one == nil {
		return errors.New("no grant has that token")
	}
	r.drop(one.grant)
	return nil
}

// drop forgets a grant and ends its connections; the caller holds the lock.
func (r *Relay) drop(gone *grant) {
	for _, one := range gone.sides {
		delete(r.names, one.token.Name())
		delete(r.places, one.at)
		if one.waiting != nil {
			one.waiting.give(nil)
			one.waiting = nil
		}
		if one.spliced != nil {
			one.spliced()
		}
	}
}

// spend takes that many bytes from a grant, and tells whether it has them.
func (g *grant) spend(size int, now time.Time) bool {
	return g.used.Add(uint64(size)) <= g.Bytes && g.limiter.AllowN(now, size)
}

// sweep ends grants whose time is over or whose bytes are spent.
func (r *Relay) sweep() {
	ticker := time.NewTicker(sweepEvery)
	defer ticker.Stop()
	for {
		select {
		case <-r.done:
			return
		case now := <-ticker.C:
			r.mutex.Lock()
			for _, one := range r.names {
				if now.After(one.grant.Expires) || one.grant.used.Load() > one.grant.Bytes {
					r.drop(one.grant)
				}
			}
			r.mutex.Unlock()
			r.guard.sweep(now)
		}
	}
}

// nonce is what a source must show, so that it is known to receive what is sent to it.
func (r *Relay) nonce(source netip.AddrPort, now time.Time, ago int64) string {
	mac := hmac.New(sha256.New, r.secret[:])
	fmt.Fprintf(mac, "%s %d", source, now.Unix()/int64(nonceLife.Seconds())-ago)
	return hex.EncodeToString(mac.Sum(nil)[:16])
}

func (r *Relay) fresh(nonce string, source netip.AddrPort, now time.Time) bool {
	return hmac.Equal([]byte(nonce), []byte(r.nonce(source, now, 0))) ||
		hmac.Equal([]byte(nonce), []byte(r.nonce(source, now, 1)))
}
