package party

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"time"

	"e3/tools/tunnel/forward"
	"e3/tools/tunnel/internal/link"
	"e3/tools/tunnel/internal/streams"
)

// overTLS is the carrier of the mode tls.
type overTLS struct {
	party *streams.Party
	mutex sync.Mutex
	known map[int]bool
	link  *link.Link
}

func newOverTLS(up func(int)) *overTLS {
	o := &overTLS{known: map[int]bool{}}
	o.party = streams.New(up, o.measured)
	return o
}

// measures lets round trips be noted at that link.
func (o *overTLS) measures(opened *link.Link) {
	o.mutex.Lock()
	defer o.mutex.Unlock()
	o.link = opened
}

func (o *overTLS) measured(connection net.Conn, trip time.Duration) {
	o.mutex.Lock()
	opened := o.link
	o.mutex.Unlock()
	opened.Measured(connection, trip)
}

func (o *overTLS) carry(peer *link.Peer, connection net.Conn) { o.party.Carry(peer.ID, connection) }

func (o *overTLS) set(one tunnel) error {
	o.mutex.Lock()
	defer o.mutex.Unlock()
	o.known[one.pid] = true
	return o.party.Set(one.pid, one.address, one.initiates)
}

func (o *overTLS) remove(pid int) error {
	o.mutex.Lock()
	defer o.mutex.Unlock()
	delete(o.known, pid)
	o.party.Remove(pid)
	return nil
}

func (*overTLS) reached(int, time.Duration) {}

func (o *overTLS) ages() (map[int]time.Duration, error) {
	o.mutex.Lock()
	defer o.mutex.Unlock()
	ages := map[int]time.Duration{}
	for pid := range o.known {
		if age, known := o.party.Age(pid); known {
			ages[pid] = age
		}
	}
	return ages, nil
}

func (o *overTLS) close() { o.party.Close() }

func (o *overTLS) dial(ctx context.Context, pid int, to netip.AddrPort) (forward.Connection, error) {
	return o.party.Dial(ctx, pid, to.Port())
}

func (o *overTLS) listen(port uint16) (net.Listener, error) { return o.party.Listen(port), nil }
