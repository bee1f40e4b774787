// Package streams carries connections between parties over TLS 1.3 alone, without WireGuard.
//
// Each pair of parties has one stream that outlives its connections (package resume); yamux carries
// any number of forwarded connections in it. For those this is faster than a TCP stack in
// the program, since the kernel's TCP does the work once.
package streams

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/hashicorp/yamux"

	"e3/tools/tunnel/forward"
	"e3/tools/tunnel/internal/lent"
	"e3/tools/tunnel/resume"
)

const (
	patience   = 10 * time.Minute // a session goes on after so long a break
	pingEvery  = time.Second      // a silent connection is cut after thrice that
	muxBuffer  = 4 << 20
	forever    = 24 * time.Hour
	mostQueued = 64 // connections to a port that is not served yet
	mostPorts  = 256
	portFor    = 10 * time.Second
)

var errNotYet = errors.New("there is no connection with the peer yet")

// Party is one end: its peers, and the ports that it serves.
type Party struct {
	up       func(pid int)
	mutex    sync.Mutex
	peers    map[int]*peer
	queues   map[uint16]chan net.Conn
	context  context.Context
	stop     context.CancelFunc
	measured func(connection net.Conn, trip time.Duration)
}

type peer struct {
	pid       int
	address   netip.Addr
	dials     bool
	offered   chan net.Conn // connections for the side that dials
	listener  *resume.Listener
	mux       *yamux.Session
	connected time.Time
	current   net.Conn
	cancel    context.CancelFunc
}

// New returns a party; up is called once data passes with a peer, measured with round trips.
func New(up func(int), measured func(net.Conn, time.Duration)) *Party {
	ctx, stop := context.WithCancel(context.Background())
	return &Party{
		up: up, measured: measured, peers: map[int]*peer{}, queues: map[uint16]chan net.Conn{},
		context: ctx, stop: stop,
	}
}

// Close ends everything.
func (p *Party) Close() {
	p.stop()
	p.mutex.Lock()
	defer p.mutex.Unlock()
	for _, one := range p.peers {
		one.close()
	}
}

func (o *peer) close() {
	o.cancel()
	if o.mux != nil {
		_ = o.mux.Close()
	}
	if o.listener != nil {
		o.listener.Close()
	}
}

var config = resume.Config{
	SendBuffer: muxBuffer, ReceiveBuffer: muxBuffer, Patience: patience, PingEvery: pingEvery,
}

// Set adds a peer, if it is not known; one side of each pair dials. Its connections come from address.
func (p *Party) Set(pid int, address netip.Addr, dials bool) error {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	if p.peers[pid] != nil {
		return nil
	}
	ctx, cancel := context.WithCancel(p.context)
	one := &peer{pid: pid, address: address, dials: dials, offered: make(chan net.Conn), cancel: cancel}
	p.peers[pid] = one
	if !dials {
		one.listener = resume.NewListener(config, 1, func(_ string, stream *resume.Stream) {
			mux, err := yamux.Server(stream, muxConfig())
			p.begin(one, mux, err)
		})
		return nil
	}
	stream, err := resume.Dial(ctx, config, func(ctx context.Context) (net.Conn, error) {
		select {
		case connection := <-one.offered:
			return connection, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	})
	if err != nil {
		return err
	}
	mux, err := yamux.Client(stream, muxConfig())
	go p.begin(one, mux, err)
	return nil
}

// muxConfig lets a session wait as long as its stream does.
func muxConfig() *yamux.Config {
	config := yamux.DefaultConfig()
	config.EnableKeepAlive = false
	config.ConnectionWriteTimeout, config.StreamOpenTimeout = forever, 0
	config.MaxStreamWindowSize = muxBuffer
	config.LogOutput = io.Discard
	return config
}

// Remove forgets a peer.
func (p *Party) Remove(pid int) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	if one := p.peers[pid]; one != nil {
		one.close()
		delete(p.peers, pid)
	}
}

// Carry lets a connection with a peer carry its stream, until the connection ends.
func (p *Party) Carry(pid int, connection net.Conn) {
	p.mutex.Lock()
	one := p.peers[pid]
	if one != nil {
		one.connected, one.current = time.Now(), connection
	}
	p.mutex.Unlock()
	if one == nil { // it is about to be known: the other side tries again
		_ = connection.Close()
		return
	}
	if !one.dials {
		_ = one.listener.Serve("", connection)
		return
	}
	lent := lent.New(connection)
	select {
	case one.offered <- lent:
		<-lent.Done()
	case <-time.After(time.Second): // another connection carries the stream already
		_ = connection.Close()
	case <-p.context.Done():
		_ = connection.Close()
	}
}

// begin serves a session of yamux until it ends.
func (p *Party) begin(one *peer, mux *yamux.Session, err error) {
	if err != nil {
		return
	}
	p.mutex.Lock()
	one.mux = mux
	p.mutex.Unlock()
	go p.measure(one, mux)
	for {
		accepted, err := mux.AcceptStream()
		if err != nil {
			return
		}
		go p.arrive(accepted, one.address)
	}
}

// measure tells when data passes, and then round trips.
func (p *Party) measure(one *peer, mux *yamux.Session) {
	for first := true; ; first = false {
		trip, err := mux.Ping()
		if err != nil {
			return
		}
		p.mutex.Lock()
		current := one.current
		p.mutex.Unlock()
		p.measured(current, trip)
		if first {
			p.up(one.pid)
		}
		select {
		case <-mux.CloseChan():
			return
		case <-time.After(pingEvery):
		}
	}
}

// arrive queues a connection for the port that it names.
func (p *Party) arrive(accepted *yamux.Stream, from netip.Addr) {
	var port [2]byte
	_ = accepted.SetReadDeadline(time.Now().Add(portFor))
	if _, err := io.ReadFull(accepted, port[:]); err != nil {
		_ = accepted.Close()
		return
	}
	_ = accepted.SetReadDeadline(time.Time{})
	select {
	case p.queue(binary.BigEndian.Uint16(port[:]), mostPorts) <- joined{accepted, from}:
	default: // also where there are too many ports: that queue is nil
		_ = accepted.Close()
	}
}

// queue returns that of a port, nil if there are so many already.
func (p *Party) queue(port uint16, most int) chan net.Conn {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	if p.queues[port] == nil && len(p.queues) < most {
		p.queues[port] = make(chan net.Conn, mostQueued)
	}
	return p.queues[port]
}

// Dial connects with a port of a peer.
func (p *Party) Dial(ctx context.Context, pid int, port uint16) (forward.Connection, error) {
	p.mutex.Lock()
	var mux *yamux.Session
	if one := p.peers[pid]; one != nil {
		mux = one.mux
	}
	p.mutex.Unlock()
	if mux == nil {
		return nil, errNotYet
	}
	stream, err := mux.OpenStream()
	if err != nil {
		return nil, err
	}
	if _, err := stream.Write(binary.BigEndian.AppendUint16(nil, port)); err != nil {
		_ = stream.Close()
		return nil, err
	}
	return joined{Stream: stream}, ctx.Err()
}

// joined is a stream of yamux with the methods of a TCP connection: Close there is a half-close.
type joined struct {
	*yamux.Stream
	from netip.Addr
}

// RemoteAddr is the peer's address in the tunnel, as in the other modes.
func (j joined) RemoteAddr() net.Addr {
	return net.TCPAddrFromAddrPort(netip.AddrPortFrom(j.from, 0))
}

func (j joined) CloseWrite() error { return j.Stream.Close() }

func (j joined) Close() error {
	err := j.Stream.Close()
	go func() { _, _ = io.Copy(io.Discard, j.Stream) }() // so that the peer's window stays open
	return err
}

// Listen returns what accepts connections of peers at a port.
func (p *Party) Listen(port uint16) net.Listener {
	ctx, stop := context.WithCancel(p.context)
	return &listener{p.queue(port, 1<<16), port, ctx, stop}
}

type listener struct {
	queue   chan net.Conn
	port    uint16
	context context.Context
	stop    context.CancelFunc
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case accepted := <-l.queue:
		return accepted, nil
	case <-l.context.Done():
		return nil, net.ErrClosed
	}
}

func (l *listener) Close() error {
	l.stop()
	return nil
}

func (l *listener) Addr() net.Addr { return &net.TCPAddr{Port: int(l.port)} }

// Age returns how long ago the peer's connection was made, false if there was none.
func (p *Party) Age(pid int) (time.Duration, bool) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	one := p.peers[pid]
	if one == nil || one.connected.IsZero() {
		return 0, false
	}
	return time.Since(one.connected), true
}
