package resume

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"slices"
	"time"
)

const (
	resetFor    = time.Second
	lingerFor   = 2 * time.Second // after the end, for what the peer has not heard yet
	bufferBytes = 2 << 10         // for the heads of frames; long data is read past it
	ackBytes    = 128 << 10       // after so many bytes one is sent at once
)

// carrier is a connection while it carries the stream. All but the connection is guarded by
// Stream.mutex.
type carrier struct {
	connection net.Conn
	ready      bool   // the peer's hello is here
	sent       uint64 // on this connection, up to here
	endSent    bool
	told       uint64 // what the peer was told to have been received
	ackDue     bool
	ackTimer   *time.Timer
	pingDue    bool
	pingTimer  *time.Timer
}

// carry lets a connection carry the stream until it breaks or the stream is over. Who accepts has
// read the peer's hello already; who dials passes nil.
func (s *Stream) carry(connection net.Conn, theirs *hello) error {
	defer func() { _ = connection.Close() }()
	if theirs != nil && s.outdated(*theirs) {
		return net.ErrClosed
	}
	c, ours := s.take(connection)
	defer s.release(c)
	_ = connection.SetDeadline(time.Now().Add(s.config.Answer))
	if _, err := connection.Write(ours.bytes()); err != nil {
		return err
	}
	reader := bufio.NewReaderSize(connection, bufferBytes)
	if theirs == nil {
		read, err := readHello(reader)
		if err != nil {
			return err
		}
		theirs = &read
	}
	if err := s.resume(c, *theirs); err != nil {
		s.fail(err)
		return err
	}
	_ = connection.SetDeadline(time.Time{})
	writing := make(chan struct{})
	go func() {
		defer close(writing)
		s.write(c)
	}()
	err := s.read(c, reader)
	s.release(c)
	_ = connection.Close()
	<-writing
	return err
}

// take makes a connection the one that carries the stream, and returns what it begins with.
func (s *Stream) take(connection net.Conn) (*carrier, hello) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if s.carrier != nil {
		_ = s.carrier.connection.Close() // the peer has come again: for it the former one is dead
		s.leave(s.carrier)
	}
	c := &carrier{connection: connection, told: s.received()}
	c.ackTimer = time.AfterFunc(time.Hour, func() { s.due(&c.ackDue) })
	c.ackTimer.Stop()
	c.pingTimer = time.AfterFunc(s.config.PingEvery, func() { s.due(&c.pingDue) })
	s.carrier = c
	s.window = s.limitNow()
	s.changed.Broadcast()
	return c, hello{id: s.id, received: c.told, limit: s.window, isNew: s.fresh}
}

// outdated tells whether a hello was under way for so long that a later connection has done more.
func (s *Stream) outdated(theirs hello) bool {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return theirs.received < s.out.offset
}

func (s *Stream) due(flag *bool) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	*flag = true
	s.changed.Broadcast()
}

// resume goes back to where the peer stands.
func (s *Stream) resume(c *carrier, theirs hello) error {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if theirs.id != s.id {
		return ErrReset // the peer does not know the stream any more
	}
	if s.carrier != c {
		return nil // another one has taken over, and has closed this one
	}
	if err := s.acknowledge(theirs.received, theirs.limit); err != nil {
		return err
	}
	s.fresh, s.answered = false, true
	c.ready, c.sent = true, s.out.offset
	s.lonely.Stop() // not before: a connection may be made at once whose peer never answers, as by a proxy
	s.settle(c.told)
	s.changed.Broadcast()
	return nil
}

// release leaves the stream without a connection, if it was that one.
func (s *Stream) release(c *carrier) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if s.carrier != c {
		return
	}
	s.carrier = nil
	s.leave(c)
	s.changed.Broadcast()
}

// leave ends what is timed on a connection; from then on the stream has none, if the peer had answered on it.
// The caller holds the lock.
func (s *Stream) leave(c *carrier) {
	c.ackTimer.Stop()
	c.pingTimer.Stop()
	if c.ready && !s.over {
		s.lonely.Reset(s.config.Patience)
	}
}

// acknowledge takes the peer's word of what it has, and up to where it takes more.
func (s *Stream) acknowledge(received, limit uint64) error {
	if received > s.high || received < s.out.offset {
		return fmt.Errorf("%w: it has %d of %d to %d", ErrProtocol, received, s.out.offset, s.high)
	}
	if end := s.out.end(); received > end {
		s.acked = true // high is beyond the end only if that was sent
		received = end
	}
	s.out.discard(received)
	s.limit = max(s.limit, limit)
	return nil
}

// write sends what there is to send until the connection is another's or breaks, or all is sent.
func (s *Stream) write(c *carrier) {
	var buffer []byte
	for {
		var then next
		buffer, then = s.next(c, buffer[:0])
		if then != goOn {
			_ = c.connection.SetWriteDeadline(time.Now().Add(resetFor))
		}
		if len(buffer) > 0 {
			if _, err := c.connection.Write(buffer); err != nil {
				then = hangUp
			}
		}
		switch then {
		case hangUp:
			_ = c.connection.Close()
			return
		case partAsFriends:
			part(c.connection)
			return
		}
	}
}

// part ends a connection for its writer, whose last word the peer has still to read: a close might take
// that from it, as that of a stream of libp2p does. Reading goes on until the peer closes, for a moment at
// most.
func part(connection net.Conn) {
	if half, can := connection.(interface{ CloseWrite() error }); can {
		_ = half.CloseWrite()
	}
	_ = connection.SetReadDeadline(time.Now().Add(lingerFor))
}

// next is what a writer does after it has sent what it was given.
type next int

const (
	goOn next = iota
	hangUp
	partAsFriends
)

// next waits for something to send and appends it.
func (s *Stream) next(c *carrier, out []byte) ([]byte, next) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	for {
		switch {
		case s.carrier != c:
			return nil, hangUp
		case s.err != nil:
			return append(out, frameReset), partAsFriends
		case s.over:
			return nil, partAsFriends
		}
		out = s.appendData(c, out)
		out = s.appendAckIfDue(c, out)
		if c.pingDue {
			c.pingDue = false
			c.pingTimer.Reset(s.config.PingEvery)
			out = append(out, framePing)
		}
		if len(out) > 0 {
			s.settle(c.told)
			return out, goOn
		}
		s.changed.Wait()
	}
}

// appendData appends what the peer takes now, and the end after all of it.
func (s *Stream) appendData(c *carrier, out []byte) []byte {
	last := min(s.out.end(), s.limit)
	if c.sent < last {
		count := min(int(last-c.sent), maxData)
		out = appendDataHeader(out, count)
		from := len(out)
		out = slices.Grow(out, count)[:from+count]
		s.out.copyAt(out[from:], c.sent)
		c.sent += uint64(count)
		s.high = max(s.high, c.sent)
	}
	if s.ended && !s.acked && !c.endSent && c.sent == s.out.end() {
		c.endSent = true
		s.high = s.out.end() + 1
		out = append(out, frameEnd)
	}
	return out
}

// appendAckIfDue appends an acknowledgement if data goes anyway, much has come, or time has passed.
func (s *Stream) appendAckIfDue(c *carrier, out []byte) []byte {
	received := s.received()
	if received == c.told && !s.widens() {
		return out
	}
	if len(out) == 0 && !c.ackDue && !s.peerEnd && !s.widens() && received-c.told < ackBytes {
		if c.told < received {
			c.ackTimer.Reset(s.config.AckDelay)
		}
		return out
	}
	c.ackTimer.Stop()
	c.ackDue, c.told, s.window = false, received, s.limitNow()
	return appendAck(out, c.told, s.window)
}

// read takes the peer's frames until the connection breaks.
func (s *Stream) read(c *carrier, from *bufio.Reader) error {
	silence := silentPings * s.config.PingEvery
	var data []byte
	var renewed time.Time
	for {
		if now := time.Now(); now.Sub(renewed) > silence/8 {
			renewed = now
			_ = c.connection.SetReadDeadline(now.Add(s.patienceWith(silence)))
		}
		kind, err := from.ReadByte()
		if err != nil {
			return err
		}
		if err := s.frame(c, kind, from, &data); err != nil {
			return err
		}
	}
}

// patienceWith is how long a silent connection is kept.
func (s *Stream) patienceWith(silence time.Duration) time.Duration {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if s.over {
		return min(lingerFor, silence)
	}
	return silence
}

// frame takes a frame; its data goes through a buffer that grows.
func (s *Stream) frame(c *carrier, kind byte, from io.Reader, data *[]byte) error {
	switch kind {
	case frameData:
		var length [4]byte
		if _, err := io.ReadFull(from, length[:]); err != nil {
			return err
		}
		count := binary.BigEndian.Uint32(length[:])
		if count == 0 || count > maxData {
			return s.violated("data of %d bytes", count)
		}
		*data = slices.Grow((*data)[:0], int(count))[:count]
		if _, err := io.ReadFull(from, *data); err != nil {
			return err
		}
		return s.takeData(c, *data)
	case frameAck:
		var raw [16]byte
		if _, err := io.ReadFull(from, raw[:]); err != nil {
			return err
		}
		return s.takeAck(c, binary.BigEndian.Uint64(raw[:]), binary.BigEndian.Uint64(raw[8:]))
	case frameEnd:
		return s.takeEnd(c)
	case frameReset:
		s.fail(ErrReset)
		return ErrReset
	case framePing:
		return nil
	}
	return s.violated("a frame of kind %d", kind)
}

func (s *Stream) violated(format string, about any) error {
	err := fmt.Errorf("%w: "+format, ErrProtocol, about)
	s.fail(err)
	return err
}

func (s *Stream) takeData(c *carrier, data []byte) error {
	s.mutex.Lock()
	if s.carrier != c {
		s.mutex.Unlock()
		return net.ErrClosed
	}
	if s.peerEnd || s.in.end()+uint64(len(data)) > s.window {
		s.mutex.Unlock()
		return s.violated("data beyond the limit at %d", s.in.end())
	}
	s.in.put(data)
	if s.closed {
		s.in.discard(s.in.end())
	}
	s.changed.Broadcast()
	s.mutex.Unlock()
	return nil
}

func (s *Stream) takeAck(c *carrier, received, limit uint64) error {
	s.mutex.Lock()
	if s.carrier != c {
		s.mutex.Unlock()
		return net.ErrClosed
	}
	err := s.acknowledge(received, limit)
	if err == nil {
		s.settle(c.told)
	}
	s.changed.Broadcast()
	s.mutex.Unlock()
	if err != nil {
		s.fail(err)
	}
	return err
}

func (s *Stream) takeEnd(c *carrier) error {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if s.carrier != c {
		return net.ErrClosed
	}
	s.peerEnd = true
	s.changed.Broadcast()
	return nil
}
