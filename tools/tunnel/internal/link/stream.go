package link

import (
	"bufio"
	"crypto/tls"
	"encoding/binary"
	"io"
	"net/netip"
	"sync/atomic"

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
	queue      chan []byte
	over       chan struct{}
	ended      atomic.Bool
}

func newStream(connection *tls.Conn) *stream {
	return &stream{
		connection: connection,
		queue:      make(chan []byte, streamQueued),
		over:       make(chan struct{}),
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
	address, _ := netip.ParseAddrPort(connection.RemoteAddr().String())
	path := &Path{peer: peer, kind: kind, from: source{address: normal(address), stream: s}}
	l.mutex.Lock()
	if l.peers[peer.ID] != peer || !l.add(path) {
		l.mutex.Unlock()
		s.close()
		return
	}
	l.mutex.Unlock()
	go s.write()
	s.read(l, path)
	l.mutex.Lock()
	l.removePath(path)
	l.mutex.Unlock()
}
