package resume

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

const patience = 60 * time.Second

// cut is a connection that breaks after so many bytes, in the midst of a write.
type cut struct {
	net.Conn
	left atomic.Int64
}

func (c *cut) Write(data []byte) (int, error) {
	left := c.left.Add(-int64(len(data)))
	if left >= 0 {
		return c.Conn.Write(data)
	}
	whole := max(int(left)+len(data), 0)
	if whole > 0 {
		_, _ = c.Conn.Write(data[:whole])
	}
	_ = c.Conn.Close()
	return whole, io.ErrClosedPipe
}

// byteAt is the byte at an offset of a stream of test data: a wrong place is a wrong byte.
func byteAt(seed, offset uint64) byte {
	mixed := (offset + seed) * 0x9E3779B97F4A7C15
	return byte(mixed >> 56)
}

// writeAll writes so many bytes of test data in random parts, and ends.
func writeAll(s *Stream, random *rand.Rand, seed uint64, size int) error {
	for offset := 0; offset < size; {
		part := make([]byte, min(1+random.IntN(20000), size-offset))
		for i := range part {
			part[i] = byteAt(seed, uint64(offset+i))
		}
		count, err := s.Write(part)
		if err != nil {
			return err
		}
		offset += count
	}
	return s.CloseWrite()
}

// readAll reads test data in random parts until its end, and checks each byte.
func readAll(s *Stream, random *rand.Rand, seed uint64, size int) error {
	for offset := 0; ; {
		part := make([]byte, 1+random.IntN(30000))
		count, err := s.Read(part)
		for i := range count {
			if part[i] != byteAt(seed, uint64(offset+i)) {
				return fmt.Errorf("byte %d of %d is wrong", offset+i, size)
			}
		}
		offset += count
		if errors.Is(err, io.EOF) && offset == size {
			return nil
		}
		if err != nil {
			return fmt.Errorf("at %d of %d: %w", offset, size, err)
		}
	}
}

// world joins a dialing end with a listener by connections that break at random.
type world struct {
	listener *Listener
	accepted chan *Stream
	cuts     atomic.Int64
	serving  sync.WaitGroup
}

func newWorld(config Config) *world {
	w := &world{accepted: make(chan *Stream, 1)}
	w.listener = NewListener(config, 8, func(_ string, s *Stream) { w.accepted <- s })
	return w
}

func (w *world) connect(budget func() int64) (net.Conn, error) {
	near, far := net.Pipe()
	ours, theirs := &cut{Conn: near}, &cut{Conn: far}
	ours.left.Store(budget())
	theirs.left.Store(budget())
	w.cuts.Add(1)
	w.serving.Go(func() { _ = w.listener.Serve("peer", theirs) })
	return ours, nil
}

func exchange(seed uint64) (int64, error) {
	random := rand.New(rand.NewPCG(seed, 1))
	config := Config{
		SendBuffer: 1 + random.IntN(1<<(9+random.IntN(9))), ReceiveBuffer: 1 + random.IntN(1<<(9+random.IntN(9))),
		Patience: patience, AckDelay: time.Millisecond, PingEvery: 50 * time.Millisecond, Retry: 50 * time.Microsecond,
	}
	sizes := [2]int{random.IntN(120000), random.IntN(120000)}
	w := newWorld(config)
	var mutex sync.Mutex
	budgets := rand.New(rand.NewPCG(seed, 2))
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	dialed, err := Dial(ctx, config, func(context.Context) (net.Conn, error) {
		mutex.Lock()
		defer mutex.Unlock()
		return w.connect(func() int64 { return 1 + int64(budgets.IntN(1<<(5+budgets.IntN(13)))) })
	})
	if err != nil {
		return 0, err
	}
	results := make(chan error, 4)
	both := func(s *Stream, out, in int, salt uint64) {
		go func() { results <- writeAll(s, rand.New(rand.NewPCG(seed, salt)), uint64(out), sizes[out]) }()
		go func() { results <- readAll(s, rand.New(rand.NewPCG(seed, salt+1)), uint64(in), sizes[in]) }()
	}
	both(dialed, 0, 1, 10)
	both(<-w.accepted, 1, 0, 20)
	for range 4 {
		if err := <-results; err != nil {
			return w.cuts.Load(), err
		}
	}
	select {
	case <-dialed.Done():
		dialed.mutex.Lock()
		defer dialed.mutex.Unlock()
		if dialed.err == nil && (dialed.in.buffer != nil || dialed.out.buffer != nil) {
			return w.cuts.Load(), errors.New("a stream that is over keeps its buffers")
		}
		return w.cuts.Load(), dialed.err
	case <-time.After(patience):
		return w.cuts.Load(), errors.New("the stream does not end")
	}
}

func TestNoByteIsLostDoubledOrReorderedHoweverConnectionsBreak(t *testing.T) {
	seeds := 40
	if testing.Short() {
		seeds = 10
	}
	var cuts atomic.Int64
	t.Run("seeds", func(t *testing.T) {
		for seed := range seeds {
			t.Run(fmt.Sprint(seed), func(t *testing.T) {
				t.Parallel()
				count, err := exchange(uint64(seed))
				cuts.Add(count)
				if err != nil {
					t.Errorf("seed %d, after %d connections: %v", seed, count, err)
				}
			})
		}
	})
	if cuts.Load() < int64(5*seeds) {
		t.Errorf("only %d connections broke", cuts.Load())
	}
}

func TestWriteWaitsWhenNothingIsAcknowledged(t *testing.T) {
	s := newStream(ID{1}, Config{SendBuffer: 1000}, true)
	written := make(chan int)
	go func() {
		count, _ := s.Write(make([]byte, 5000))
		written <- count
	}()
	select {
	case count := <-written:
		t.Fatalf("wrote %d into a buffer of 1000", count)
	case <-time.After(100 * time.Millisecond):
	}
	s.Reset()
	if count := <-written; count != 1000 {
		t.Errorf("wrote %d into a buffer of 1000", count)
	}
}

func TestAReaderThatWaitsStopsNoAcknowledgement(t *testing.T) {
	config := Config{SendBuffer: 4000, ReceiveBuffer: 1000, Patience: patience}
	w := newWorld(config)
	dialed, err := Dial(t.Context(), config, func(context.Context) (net.Conn, error) {
		return w.connect(func() int64 { return 1 << 40 })
	})
	if err != nil {
		t.Fatal(err)
	}
	accepted := <-w.accepted
	// nobody reads what the accepting end writes, and the dialing end's data passes all the same
	if _, err := accepted.Write(make([]byte, 3000)); err != nil {
		t.Fatal(err)
	}
	go func() { _, _ = io.Copy(io.Discard, accepted) }()
	done := make(chan error)
	go func() {
		_, err := dialed.Write(make([]byte, 100000))
		done <- err
	}()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(patience):
		t.Error("the stream is stuck")
	}
}

func TestAStreamWithoutAConnectionIsGivenUp(t *testing.T) {
	refused := errors.New("refused")
	dialed, err := Dial(t.Context(), Config{Patience: 50 * time.Millisecond}, func(context.Context) (net.Conn, error) {
		return nil, refused
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := dialed.Read(make([]byte, 1)); !errors.Is(err, ErrLost) {
		t.Errorf("reads %v", err)
	}
}

func TestAStreamWhoseConnectionsAreNeverAnsweredIsGivenUp(t *testing.T) {
	t.Parallel()
	config := Config{Patience: longestWait + time.Second, Answer: 20 * time.Millisecond}
	dialed, err := Dial(t.Context(), config, func(context.Context) (net.Conn, error) {
		ours, theirs := net.Pipe()
		go func() { _, _ = io.Copy(io.Discard, theirs) }()
		return ours, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-dialed.Done():
		if !errors.Is(dialed.Err(), ErrLost) {
			t.Errorf("ends with %v", dialed.Err())
		}
	case <-time.After(2 * config.Patience):
		t.Error("it goes on without an answer")
	}
}

func TestAPeerThatHasForgottenTheStreamSaysSo(t *testing.T) {
	config := Config{Patience: patience}
	w := newWorld(config)
	dialed, err := Dial(t.Context(), config, func(context.Context) (net.Conn, error) {
		return w.connect(func() int64 { return 200 })
	})
	if err != nil {
		t.Fatal(err)
	}
	accepted := <-w.accepted
	if _, err := dialed.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(accepted, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	w.listener = NewListener(config, 8, func(string, *Stream) { t.Error("a stream began again") })
	_, _ = dialed.Write(make([]byte, 1000))
	if _, err := dialed.Read(make([]byte, 1)); !errors.Is(err, ErrReset) {
		t.Errorf("reads %v", err)
	}
}

func TestOnlyWhoBeganAStreamGoesOnWithIt(t *testing.T) {
	began := make(chan struct{})
	listener := NewListener(Config{Patience: patience}, 1, func(string, *Stream) { close(began) })
	greet := func(peer string, h hello) hello {
		near, far := net.Pipe()
		defer func() { _ = near.Close() }()
		go func() { _ = listener.Serve(peer, far) }()
		if _, err := near.Write(h.bytes()); err != nil {
			t.Fatal(err)
		}
		answer, err := readHello(near)
		if err != nil {
			t.Fatal(err)
		}
		return answer
	}
	if answer := greet("alice", hello{id: ID{1}, isNew: true}); answer.id != (ID{1}) {
		t.Error("a new stream is refused")
	}
	<-began
	for name, other := range map[string]struct {
		peer string
		hello
	}{
		"another peer":         {"mallory", hello{id: ID{1}}},
		"one too many":         {"alice", hello{id: ID{2}, isNew: true}},
		"one that never began": {"alice", hello{id: ID{3}}},
		"one without a name":   {"alice", hello{isNew: true}},
	} {
		if answer := greet(other.peer, other.hello); answer.id != (ID{}) {
			t.Errorf("%s is taken", name)
		}
	}
}

func FuzzAPeerThatSendsAnything(f *testing.F) {
	f.Add([]byte{frameData, 0, 0, 0, 1, 7, frameEnd}, uint64(0))
	f.Add(appendAck(nil, 1<<40, 1<<40), uint64(3))
	f.Add([]byte{frameReset}, uint64(1))
	f.Fuzz(func(t *testing.T, said []byte, received uint64) {
		s := newStream(ID{1}, Config{ReceiveBuffer: 1000, Patience: patience}, false)
		near, far := net.Pipe()
		go func() { _ = s.carry(far, &hello{id: ID{1}, received: received}) }()
		go func() { _, _ = io.Copy(io.Discard, near) }()
		_ = near.SetWriteDeadline(time.Now().Add(time.Second))
		_, _ = near.Write(said)
		_ = near.Close()
		s.mutex.Lock()
		defer s.mutex.Unlock()
		if s.in.length > 1000 || s.in.end() > uint64(len(said)) {
			t.Errorf("has taken %d bytes of %d", s.in.end(), len(said))
		}
	})
}
