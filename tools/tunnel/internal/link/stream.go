package link

import (
	"bufio"
	"crypto/tls"
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"e3/tools/tunnel/internal/wire"
)

const (
	streamQueued   = 256 // datagrams; more are dropped, as a full router drops them
	streamBuffer   = 1 << 16
	lengthBytes    = 2
	shortestPacket = 16
)

// stream carries datagrams over TLS, each after its length in two bytes.
type stream struct {
	connection *tls.Conn
	queue      chan []byte // nil if it carries no datagrams
	over       chan struct{}
	ended      atomic.Bool
	began      time.Time
}

func newStream(connection *tls.Conn) *stream {
	return &stream{
		connection: connection,
		queue:      make(chan []byte, streamQueued),
		over:       make(chan struct{}),
		began:      time.Now(),
	}
}

func (s *stream) dead() bool { return s.ended.Load() }

func (s *stream) close() {
	if s.ended.CompareAndSwap(false, true) {
		close(s.over)
		_ = s.connection.NetConn().Close()
	}
}

// send queues a datagram, or drops it.
func (s *stream) send(packet []byte) {
	framed := binary.BigEndian.AppendUint16(make([]byte, 0, lengthBytes+len(packet)), uint16(len(packet)))
	select {
	case s.queue <- append(framed, packet...):
	default:
	}
}

// write sends what is queued until the stream ends; it flushes when nothing more waits.
func (s *stream) write() {
	defer s.close()
	out := bufio.NewWriterSize(s.connection, streamBuffer)
	for {
		select {
		case <-s.over:
			return
		case packet := <-s.queue:
			if _, err := out.Write(packet); err != nil {
				return
			}
			if len(s.queue) == 0 && out.Flush() != nil {
				return
			}
		}
	}
}

// read passes datagrams to their link until the stream ends.
func (s *stream) read(l *Link, path *Path) {
	defer s.close()
	in := bufio.NewReaderSize(s.connection, streamBuffer)
	for {
		var length [lengthBytes]byte
		if _, err := io.ReadFull(in, length[:]); err != nil {
			return
		}
		packet := make([]byte, binary.BigEndian.Uint16(length[:]))
		if _, err := io.ReadFull(in, packet); err != nil {
			return
		}
		if len(packet) < shortestPacket {
			continue
		}
		switch wire.Classify(packet) {
		case wire.WireGuard:
			path.heard(len(packet))
			select {
			case l.Bind.frames <- frame{path.peer, packet}:
			default: // WireGuard is behind: a network would lose it, too
			}
		case wire.STUN:
			l.stun(packet, path.from)
		}
	}
}

// carry makes a connection with a peer one of its paths, until it ends.
func (l *Link) carry(connection *tls.Conn, peer *Peer, kind Kind) {
	s := newStream(connection)
	if !l.config.datagrams() {
		s.queue = nil
	}
	address, _ := netip.ParseAddrPort(connection.RemoteAddr().String())
	path := &Path{peer: peer, kind: kind, from: source{address: normal(address), stream: s}}
	l.mutex.Lock()
	if l.peers[peer.ID] != peer || !l.add(path) {
		l.mutex.Unlock()
		s.close()
		return
	}
	if !l.config.datagrams() {
		path.answered = time.Now()
	}
	l.mutex.Unlock()
	if l.config.datagrams() {
		go s.write()
		s.read(l, path)
	} else {
		l.config.Carry(peer, &counted{connection, path})
		s.close()
	}
	l.mutex.Lock()
	l.removePath(path)
	l.mutex.Unlock()
}

// counted is a connection whose bytes are counted as those of its path.
type counted struct {
	*tls.Conn
	path *Path
}

func (c *counted) Read(into []byte) (int, error) {
	count, err := c.Conn.Read(into)
	c.path.heard(count)
	return count, err
}

func (c *counted) Write(data []byte) (int, error) {
	count, err := c.Conn.Write(data)
	c.path.sentBytes.Add(uint64(count))
	return count, err
}

// Measured notes the round trip of a connection that Carry was given.
func (l *Link) Measured(connection net.Conn, trip time.Duration) {
	if of, known := connection.(*counted); known {
		l.mutex.Lock()
		defer l.mutex.Unlock()
		of.path.rtt = trip
	}
}
