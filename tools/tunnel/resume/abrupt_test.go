package resume

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// abrupt is a connection that ends like a stream of yamux that is reset: what the peer has not read by then is
// lost. Both ends share what guards them.
type abrupt struct {
	net.Conn // for what is not used
	*sync.Cond
	peer   *abrupt
	in     []byte
	ended  bool // the peer writes no more
	closed bool
	late   bool // the deadline is over
	timer  *time.Timer
}

func abruptPair() (*abrupt, *abrupt) {
	shared := sync.NewCond(&sync.Mutex{})
	one, other := &abrupt{Cond: shared}, &abrupt{Cond: shared}
	one.peer, other.peer = other, one
	return one, other
}

func (a *abrupt) Read(into []byte) (int, error) {
	a.L.Lock()
	defer a.L.Unlock()
	for {
		switch {
		case a.closed || a.peer.closed:
			return 0, net.ErrClosed
		case len(a.in) > 0:
			count := copy(into, a.in)
			a.in = a.in[count:]
			return count, nil
		case a.ended:
			return 0, io.EOF
		case a.late:
			return 0, context.DeadlineExceeded
		}
		a.Wait()
	}
}

func (a *abrupt) Write(data []byte) (int, error) {
	a.L.Lock()
	defer a.L.Unlock()
	if a.closed || a.peer.closed {
		return 0, net.ErrClosed
	}
	a.peer.in = append(a.peer.in, data...)
	// the peer's reader is woken later than what comes next
	time.AfterFunc(time.Millisecond, a.Broadcast)
	return len(data), nil
}

func (a *abrupt) CloseWrite() error {
	a.L.Lock()
	defer a.L.Unlock()
	a.peer.ended = true
	a.Broadcast()
	return nil
}

func (a *abrupt) Close() error {
	a.L.Lock()
	defer a.L.Unlock()
	a.closed = true
	a.Broadcast()
	return nil
}

func (a *abrupt) SetDeadline(until time.Time) error { return a.SetReadDeadline(until) }

func (a *abrupt) SetWriteDeadline(time.Time) error { return nil }

func (a *abrupt) SetReadDeadline(until time.Time) error {
	a.L.Lock()
	defer a.L.Unlock()
	if a.timer != nil {
		a.timer.Stop()
	}
	a.late = false
	if !until.IsZero() {
		a.timer = time.AfterFunc(time.Until(until), func() {
			a.L.Lock()
			defer a.L.Unlock()
			a.late = true
			a.Broadcast()
		})
	}
	return nil
}

func TestARefusalArrivesWhereAClosedConnectionLosesWhatWasNotRead(t *testing.T) {
	t.Parallel()
	config := Config{Patience: patience}
	listener := NewListener(config, 8, func(_ string, s *Stream) { s.Reset() }) // nobody listens there
	dialed, err := Dial(t.Context(), config, func(context.Context) (net.Conn, error) {
		ours, theirs := abruptPair()
		go func() { _ = listener.Serve("peer", theirs) }()
		return ours, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-dialed.Done():
		if !errors.Is(dialed.Err(), ErrReset) {
			t.Errorf("ends with %v", dialed.Err())
		}
	case <-time.After(patience / 4):
		t.Error("the dialing end never hears that the stream is broken")
	}
}

func TestAStreamThatIsNotKnownIsRefusedThereAsWell(t *testing.T) {
	t.Parallel()
	listener := NewListener(Config{Patience: patience}, 8, func(string, *Stream) { t.Error("it is taken") })
	ours, theirs := abruptPair()
	go func() { _ = listener.Serve("peer", theirs) }()
	s := newStream(ID{1}, Config{}, false)
	if err := s.carry(ours, nil); !errors.Is(err, ErrReset) {
		t.Errorf("carries it until %v", err)
	}
}
