package relay

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/pion/stun/v3"

	"e3/tools/tunnel/internal/lent"
	"e3/tools/tunnel/internal/wire"
)

const (
	maxConnections = 8192
	askFor         = 10 * time.Second // until a connection has shown its token
	waitFor        = 30 * time.Second // until the other side has come
	chunkBytes     = 64 << 10
	tlsHandshake   = 0x16 // the first byte of a connection of TLS
	backendFor     = 5 * time.Second
)

// waiter is a connection that waits for that of the other side.
type waiter struct {
	partner chan *peeked
	once    sync.Once
}

// give passes the other side's connection, nil for none, to the side that waits. The first
// one counts; it returns whether this was that one.
func (w *waiter) give(other *peeked) (counts bool) {
	w.once.Do(func() {
		w.partner <- other
		counts = true
	})
	return counts
}

// peeked is a connection of which a reader has read ahead.
type peeked struct {
	net.Conn
	reader *bufio.Reader
}

func (p *peeked) Read(into []byte) (int, error) { return p.reader.Read(into) }

// streams accepts connections.
type streams struct {
	relay    *Relay
	listener net.Listener
	backend  string
	context  context.Context
	stop     context.CancelFunc
	places   chan struct{}
}

// ListenTCP splices connections at a port, 0 for any; it returns the port.
//
// A connection that begins as TLS does is passed to backend, if there is one: so that the mediator's
// HTTPS and the relay can share port 443, where others do not pass.
func (r *Relay) ListenTCP(port uint16, backend string) (uint16, error) {
	listener, err := net.ListenTCP("tcp", &net.TCPAddr{Port: int(port)})
	if err != nil {
		return 0, err
	}
	ctx, stop := context.WithCancel(context.Background())
	r.stream = &streams{r, listener, backend, ctx, stop, make(chan struct{}, maxConnections)}
	go r.stream.run()
	return uint16(listener.Addr().(*net.TCPAddr).Port), nil
}

func (s *streams) close() {
	s.stop()
	_ = s.listener.Close()
}

func (s *streams) run() {
	for {
		connection, err := s.listener.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			time.Sleep(time.Millisecond) // such as no descriptor left: others will end
			continue
		}
		source := sourceOf(connection)
		if !s.relay.guard.connect(source.Addr(), time.Now()) {
			_ = connection.Close()
			continue
		}
		select {
		case s.places <- struct{}{}:
			go func() {
				s.serve(&peeked{connection, bufio.NewReader(connection)}, source)
				_ = connection.Close()
				s.relay.guard.disconnect(source.Addr())
				<-s.places
			}()
		default:
			_ = connection.Close()
			s.relay.guard.disconnect(source.Addr())
		}
	}
}

func sourceOf(connection net.Conn) netip.AddrPort {
	address, _ := netip.ParseAddrPort(connection.RemoteAddr().String())
	return normal(address)
}

func (s *streams) serve(connection *peeked, source netip.AddrPort) {
	_ = connection.SetDeadline(time.Now().Add(askFor))
	first, err := connection.reader.Peek(1)
	if err != nil {
		return
	}
	if first[0] == tlsHandshake {
		s.pass(connection)
		return
	}
	found := s.admit(connection, source)
	if found == nil {
		return
	}
	_ = connection.SetDeadline(time.Time{})
	s.meet(found, connection)
}

// pass joins a connection with the backend.
func (s *streams) pass(connection *peeked) {
	if s.backend == "" {
		return
	}
	behind, err := net.DialTimeout("tcp", s.backend, backendFor)
	if err != nil {
		return
	}
	_ = connection.SetDeadline(time.Time{})
	join(s.context, connection, behind, func(context.Context, int) error { return nil })
}

// admit returns the side whose token a connection shows, nil if it shows none.
func (s *streams) admit(connection *peeked, source netip.AddrPort) *side {
	for range 3 {
		message, err := wire.ReadMessage(connection.reader)
		now := time.Now()
		if err != nil || !s.relay.guard.request(source.Addr(), now) {
			return nil
		}
		if message.Type.Class != stun.ClassRequest || message.Type.Method != stun.MethodChannelBind {
			return nil
		}
		found, response, err := s.relay.authorise(message, source, now)
		if err != nil {
			return nil
		}
		if _, err := connection.Write(response.Raw); err != nil {
			return nil
		}
		if found != nil {
			return found
		}
	}
	return nil
}

// meet waits for the other side's connection, or joins the one that waits.
func (s *streams) meet(own *side, connection *peeked) {
	r := s.relay
	r.mutex.Lock()
	if partner := own.other.waiting; partner != nil {
		own.other.waiting = nil
		ctx, end := context.WithCancel(s.context)
		own.spliced = end
		r.mutex.Unlock()
		defer end()
		lent := lent.New(connection)
		if !partner.give(&peeked{lent, connection.reader}) {
			end()
			s.meet(own, connection) // it has just given up
			return
		}
		select { // the other goroutine copies both ways
		case <-lent.Done():
		case <-ctx.Done():
		}
		return
	}
	if own.waiting != nil {
		own.waiting.give(nil) // this side has come again: its former connection is dead
	}
	mine := &waiter{partner: make(chan *peeked, 1)}
	own.waiting = mine
	r.mutex.Unlock()
	timer := time.AfterFunc(waitFor, func() { mine.give(nil) })
	partner := <-mine.partner
	timer.Stop()
	r.mutex.Lock()
	if own.waiting == mine {
		own.waiting = nil
	}
	r.mutex.Unlock()
	if partner == nil {
		return
	}
	s.splice(own, connection, partner)
}

// splice copies between both sides, as far as their grant allows.
func (s *streams) splice(own *side, one, other *peeked) {
	ctx, end := context.WithDeadline(s.context, own.grant.Expires)
	defer end()
	s.relay.mutex.Lock()
	own.spliced = end
	s.relay.mutex.Unlock()
	join(ctx, one, other, func(ctx context.Context, size int) error {
		if own.grant.used.Add(uint64(size)) > own.grant.Bytes {
			return errors.New("the quota is spent")
		}
		s.relay.counted.forwarded.Add(uint64(size))
		return own.grant.limiter.WaitN(ctx, size)
	})
}

// join copies both ways until one of them ends or the context does.
func join(ctx context.Context, one, other net.Conn, spend func(context.Context, int) error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var both sync.WaitGroup
	for _, way := range [][2]net.Conn{{one, other}, {other, one}} {
		both.Go(func() {
			defer cancel()
			copyLimited(ctx, way[1], way[0], spend)
		})
	}
	<-ctx.Done()
	_ = one.Close()
	_ = other.Close()
	both.Wait()
}

func copyLimited(ctx context.Context, to io.Writer, from io.Reader, spend func(context.Context, int) error) {
	buffer := make([]byte, chunkBytes)
	for {
		count, err := from.Read(buffer)
		if count > 0 && (spend(ctx, count) != nil || writeAll(to, buffer[:count]) != nil) {
			return
		}
		if err != nil {
			return
		}
	}
}

func writeAll(to io.Writer, data []byte) error {
	_, err := to.Write(data)
	return err
}
