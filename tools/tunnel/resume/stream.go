// Package resume lets a stream of bytes outlive the connections that carry it.
//
// Both ends count the bytes and keep what the other has not acknowledged, in a buffer of bounded
// size. When a connection breaks, a new one goes on where the old one stopped: no byte is lost,
// doubled or reordered. A connection must authenticate both ends and keep the ID secret: TLS, Noise,
// or a hidden service.
package resume

import (
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

// Config bounds a stream; zero values mean the usual ones.
type Config struct {
	SendBuffer    int           // bytes kept until they are acknowledged; then Write waits
	ReceiveBuffer int           // bytes kept until they are read; then the peer waits
	Patience      time.Duration // without a connection; then the stream is broken
	PingEvery     time.Duration // also on a quiet connection; one silent for thrice that is cut
	AckDelay      time.Duration // of an acknowledgement that no data goes with
	Retry         time.Duration // between connections at first; it doubles while nobody answers
	Answer        time.Duration // for a connection to be made, and then for the peer's first answer
}

const (
	usualBuffer   = 4 << 20
	usualPatience = 2 * time.Minute
	usualPing     = 5 * time.Second
	usualAckDelay = 5 * time.Millisecond
	usualRetry    = 20 * time.Millisecond
	usualAnswer   = 15 * time.Second
	silentPings   = 3
)

func (c Config) filled() Config {
	fill := func(value *time.Duration, usual time.Duration) {
		if *value <= 0 {
			*value = usual
		}
	}
	if c.SendBuffer <= 0 {
		c.SendBuffer = usualBuffer
	}
	if c.ReceiveBuffer <= 0 {
		c.ReceiveBuffer = usualBuffer
	}
	fill(&c.Patience, usualPatience)
	fill(&c.PingEvery, usualPing)
	fill(&c.AckDelay, usualAckDelay)
	fill(&c.Retry, usualRetry)
	fill(&c.Answer, usualAnswer)
	return c
}

// Errors of a stream that is broken for good.
var (
	ErrLost  = errors.New("the stream had no connection for too long")
	ErrReset = errors.New("the stream's peer has given it up")
)

// Stream is one end of a stream; Read, Write, CloseWrite and Close are those of a TCP connection.
type Stream struct {
	id     ID
	config Config

	mutex   sync.Mutex
	changed *sync.Cond // anything that a reader, a writer or a connection waits for

	out   ring   // what the peer has not acknowledged
	high  uint64 // up to here bytes were ever sent, with the end as one more
	limit uint64 // the peer takes nothing from here on
	ended bool   // nothing more is written
	acked bool   // the peer has all, and knows of the end

	in      ring   // what has not been read
	window  uint64 // the limit that the peer was told
	peerEnd bool   // the peer has ended, and all before that has been received
	closed  bool   // what comes in is dropped

	carrier  *carrier
	fresh    bool        // no connection has carried it yet
	answered bool        // a peer has, since the last connection was dialed
	lonely   *time.Timer // breaks the stream when it has no connection
	err      error
	over     bool
	done     chan struct{}
}

func newStream(id ID, config Config, fresh bool) *Stream {
	s := &Stream{id: id, config: config.filled(), fresh: fresh, done: make(chan struct{})}
	s.changed = sync.NewCond(&s.mutex)
	s.lonely = time.AfterFunc(s.config.Patience, func() { s.fail(ErrLost) })
	return s
}

// Done is closed once the stream is over: both ends have ended and this one knows it, or it is broken.
func (s *Stream) Done() <-chan struct{} { return s.done }

// Err returns why the stream is broken, nil if it is not.
func (s *Stream) Err() error {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return s.err
}

// Ended tells whether the peer writes no more, though what it has written may not have been read yet.
func (s *Stream) Ended() bool {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return s.peerEnd
}

// begun tells whether a connection has carried the stream.
func (s *Stream) begun() bool {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return !s.fresh
}

// received is what the peer is told that has come, its end as one more.
func (s *Stream) received() uint64 {
	if s.peerEnd {
		return s.in.end() + 1
	}
	return s.in.end()
}

func (s *Stream) fail(err error) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if !s.over {
		s.err = err
		s.finish()
	}
}

// finish ends the stream for its user; the caller holds the lock.
func (s *Stream) finish() {
	s.over = true
	s.spare()
	s.lonely.Stop()
	close(s.done)
	s.changed.Broadcast()
}

// spare frees what is empty of a stream that is over: a listener remembers it for a while.
func (s *Stream) spare() {
	for _, each := range []*ring{&s.in, &s.out} {
		if each.length == 0 {
			each.buffer = nil
		}
	}
}

// settle finishes the stream if both ends have ended and the peer was told so.
func (s *Stream) settle(told uint64) {
	if !s.over && s.acked && s.peerEnd && told == s.received() {
		s.finish()
	}
}

// Read reads what the peer has written; io.EOF once it has ended.
func (s *Stream) Read(into []byte) (int, error) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	for {
		switch {
		case s.closed:
			return 0, net.ErrClosed
		case s.in.length > 0:
			count := s.in.copyAt(into, s.in.offset)
			s.in.discard(s.in.offset + uint64(count))
			if s.widens() {
				s.changed.Broadcast()
			}
			if s.over {
				s.spare()
			}
			return count, nil
		case s.peerEnd:
			return 0, io.EOF
		case s.err != nil:
			return 0, s.err
		}
		s.changed.Wait()
	}
}

// limitNow is up to where the peer may send.
func (s *Stream) limitNow() uint64 {
	return max(s.in.offset+uint64(s.config.ReceiveBuffer), s.window)
}

// widens tells whether the peer may send so much more that it should be told.
func (s *Stream) widens() bool {
	return s.limitNow()-s.window >= uint64(s.config.ReceiveBuffer+1)/2
}

// Write queues bytes; it waits while the buffer is full.
func (s *Stream) Write(data []byte) (int, error) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	written := 0
	for written < len(data) {
		switch {
		case s.err != nil:
			return written, s.err
		case s.ended:
			return written, net.ErrClosed
		}
		room := s.config.SendBuffer - s.out.length
		if room <= 0 {
			s.changed.Wait()
			continue
		}
		part := data[written:min(written+room, len(data))]
		s.out.put(part)
		written += len(part)
		s.changed.Broadcast()
	}
	return written, nil
}

// CloseWrite tells the peer that no more comes.
func (s *Stream) CloseWrite() error {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.ended = true
	s.changed.Broadcast()
	return s.err
}

// Close ends both directions: what was written is still sent, what comes in is dropped.
func (s *Stream) Close() error {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.ended, s.closed = true, true
	s.in.discard(s.in.end())
	s.changed.Broadcast()
	return nil
}

// Reset breaks the stream at both ends.
func (s *Stream) Reset() { s.fail(ErrReset) }
