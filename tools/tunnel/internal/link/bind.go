package link

import (
	"errors"
	"net"
	"net/netip"
	"reflect"
	"sync"
	"sync/atomic"

	"golang.zx2c4.com/wireguard/conn"

	"e3/tools/tunnel/internal/wire"
)

// framesQueued is how many datagrams from TCP wait for WireGuard; more are dropped.
const framesQueued = 512

var (
	_ conn.Bind     = (*Bind)(nil)
	_ conn.Endpoint = (*Peer)(nil)
)

// Bind is the socket of WireGuard: its endpoints are peers, and a peer's path may change at any
// time without WireGuard noticing.
//
// Datagrams come and go in batches, with segmentation offload, by wireguard-go's own socket.
// Only those of sources that passed a check reach WireGuard.
type Bind struct {
	link   *Link
	udp    *conn.StdNetBind
	udp6   atomic.Pointer[conn.StdNetBind] // the same sockets, by which datagrams of IPv6 are sent
	frames chan frame
	mutex  sync.Mutex
	closed chan struct{}
}

type frame struct {
	peer    *Peer
	payload []byte
}

// Open opens the socket on that port, 0 for any.
func (b *Bind) Open(port uint16) ([]conn.ReceiveFunc, uint16, error) {
	fns, actual, err := b.udp.Open(port)
	if err != nil {
		return nil, 0, err
	}
	b.mutex.Lock()
	b.closed = make(chan struct{})
	closed := b.closed
	b.mutex.Unlock()
	b.udp6.Store(apart(b.udp))
	b.link.port.Store(uint32(actual))
	wrapped := make([]conn.ReceiveFunc, 0, len(fns)+1)
	for _, fn := range fns {
		wrapped = append(wrapped, b.receiving(fn))
	}
	return append(wrapped, b.receivingFrames(closed)), actual, nil
}

// apart returns what sends by the same sockets with pools of its own; nothing was sent yet.
//
// wireguard-go takes addresses of both versions of IP from one pool. IPv4 leaves four bytes of them,
// and as many are then written of an IPv6 address: its datagram would go elsewhere.
func apart(opened *conn.StdNetBind) *conn.StdNetBind {
	made := new(conn.StdNetBind)
	reflect.ValueOf(made).Elem().Set(reflect.ValueOf(opened).Elem())
	return made
}

// Close closes the socket; what receives returns net.ErrClosed.
func (b *Bind) Close() error {
	b.mutex.Lock()
	if b.closed != nil {
		close(b.closed)
		b.closed = nil
	}
	b.mutex.Unlock()
	b.udp6.Store(nil)
	return b.udp.Close()
}

// SetMark does nothing: E3 marks no packets.
func (b *Bind) SetMark(uint32) error { return nil }

// BatchSize is that of wireguard-go's socket.
func (b *Bind) BatchSize() int { return b.udp.BatchSize() }

// ParseEndpoint returns the peer of that name.
func (b *Bind) ParseEndpoint(name string) (conn.Endpoint, error) {
	if peer := b.link.byName(name); peer != nil {
		return peer, nil
	}
	return nil, errors.New("no peer " + name)
}

// Send sends datagrams on the path of a peer; without one they are lost, as in any network.
func (b *Bind) Send(buffers [][]byte, endpoint conn.Endpoint) error {
	peer, good := endpoint.(*Peer)
	if !good {
		return conn.ErrWrongEndpointType
	}
	path := peer.current.Load()
	if path == nil {
		return nil
	}
	size := 0
	for _, buffer := range buffers {
		size += len(buffer)
	}
	path.sentBytes.Add(uint64(size))
	return path.send(b, buffers)
}

// send passes datagrams to an address.
func (b *Bind) send(to netip.AddrPort, buffers ...[]byte) error {
	udp := b.udp
	if six := b.udp6.Load(); six != nil && to.Addr().Is6() {
		udp = six
	}
	return udp.Send(buffers, &conn.StdNetEndpoint{AddrPort: to})
}

// receiving returns fn with all that is not WireGuard's taken out.
func (b *Bind) receiving(fn conn.ReceiveFunc) conn.ReceiveFunc {
	// most datagrams come from where the one before came from
	var last netip.AddrPort
	var path *Path
	var known *map[source]*Path
	return func(buffers [][]byte, sizes []int, endpoints []conn.Endpoint) (int, error) {
		count, err := fn(buffers, sizes, endpoints)
		heard := 0
		for i := range count {
			from, good := endpoints[i].(*conn.StdNetEndpoint)
			if sizes[i] == 0 || !good {
				sizes[i] = 0
				continue
			}
			if wire.Classify(buffers[i][:sizes[i]]) != wire.WireGuard {
				sizes[i], endpoints[i] = b.link.datagram(buffers[i], sizes[i], normal(from.AddrPort))
				continue
			}
			if now := b.link.sources.Load(); from.AddrPort != last || now != known {
				path.heard(heard)
				last, known, heard = from.AddrPort, now, 0
				path = (*now)[source{address: normal(last)}]
			}
			if path == nil {
				sizes[i] = 0
				continue
			}
			heard += sizes[i]
			endpoints[i] = path.peer
		}
		path.heard(heard)
		return count, err
	}
}

// receivingFrames returns what receives the datagrams that came by TCP.
func (b *Bind) receivingFrames(closed chan struct{}) conn.ReceiveFunc {
	return func(buffers [][]byte, sizes []int, endpoints []conn.Endpoint) (int, error) {
		select {
		case <-closed:
			return 0, net.ErrClosed
		case first := <-b.frames:
			count := 0
			for next, more := first, true; more; count++ {
				sizes[count] = copy(buffers[count], next.payload)
				endpoints[count] = next.peer
				if count+1 == len(buffers) {
					return len(buffers), nil
				}
				select {
				case next = <-b.frames:
				default:
					more = false
				}
			}
			return count, nil
		}
	}
}

// datagram returns what WireGuard gets of a datagram that is not its own: the size of what a frame
// has, 0 for nothing, and the peer.
func (l *Link) datagram(buffer []byte, size int, from netip.AddrPort) (int, conn.Endpoint) {
	packet := buffer[:size]
	switch wire.Classify(packet) {
	case wire.STUN:
		l.stun(packet, source{address: from})
	case wire.Frame:
		channel, payload := wire.ReadFrame(packet)
		return l.relayed(buffer, payload, source{address: from, channel: channel})
	}
	return 0, nil
}

// relayed does the same for what came in a frame of a relay.
func (l *Link) relayed(buffer, payload []byte, from source) (int, conn.Endpoint) {
	switch wire.Classify(payload) {
	case wire.WireGuard:
		if path := l.pathFrom(from); path != nil {
			path.heard(len(payload))
			return copy(buffer, payload), path.peer
		}
	case wire.STUN:
		l.stun(payload, from)
	}
	return 0, nil
}

func normal(address netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(address.Addr().Unmap().WithZone(""), address.Port())
}
