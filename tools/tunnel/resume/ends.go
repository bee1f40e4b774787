package resume

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

const longestWait = 2 * time.Second

// Dial returns a stream at once, whose connections `dial` makes: now, and whenever one breaks.
func Dial(ctx context.Context, config Config, dial func(context.Context) (net.Conn, error)) (*Stream, error) {
	var id ID
	if _, err := rand.Read(id[:]); err != nil {
		return nil, err
	}
	s := newStream(id, config, true)
	go s.keep(ctx, dial)
	return s, nil
}

// keep makes connections until the stream is over.
func (s *Stream) keep(ctx context.Context, dial func(context.Context) (net.Conn, error)) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-ctx.Done():
			s.fail(ctx.Err())
		case <-s.done:
		}
	}()
	wait := s.config.Retry
	for {
		trial, over := context.WithTimeout(ctx, s.config.Answer)
		connection, err := dial(trial)
		over()
		if err == nil {
			_ = s.carry(connection, nil)
			if s.progressed() {
				wait = s.config.Retry
			}
		}
		select {
		case <-s.done:
			return
		case <-time.After(wait):
		}
		wait = min(2*wait, longestWait)
	}
}

// progressed tells, once, whether a peer has answered since it was last asked.
func (s *Stream) progressed() bool {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	answered := s.answered
	s.answered = false
	return answered
}

// Listener takes the connections of streams that others dial.
type Listener struct {
	config  Config
	accept  func(peer string, stream *Stream)
	most    int
	mutex   sync.Mutex
	streams map[ID]*accepted
}

type accepted struct {
	stream *Stream
	peer   string
}

// NewListener calls accept with each new stream, in a goroutine of its own; `most` bounds them.
func NewListener(config Config, most int, accept func(peer string, stream *Stream)) *Listener {
	return &Listener{config: config.filled(), accept: accept, most: most, streams: map[ID]*accepted{}}
}

// ErrFull is the error of a listener that has as many streams as it may.
var ErrFull = errors.New("there are too many streams")

// Serve lets a connection carry the stream that it names, until it breaks. Only the peer that began
// a stream may go on with it; the connection proves who that is.
func (l *Listener) Serve(peer string, connection net.Conn) error {
	_ = connection.SetDeadline(time.Now().Add(l.config.Answer))
	theirs, err := readHello(connection)
	if err != nil {
		_ = connection.Close()
		return err
	}
	stream, isNew, err := l.stream(peer, theirs)
	if err != nil {
		refuse(connection)
		return err
	}
	if isNew {
		go l.accept(peer, stream)
	}
	return stream.carry(connection, &theirs)
}

// refuse answers with a hello of another ID: the stream is not known here.
func refuse(connection net.Conn) {
	if _, err := connection.Write(hello{}.bytes()); err == nil {
		part(connection)
		_, _ = io.CopyN(io.Discard, connection, bufferBytes)
	}
	_ = connection.Close()
}

func (l *Listener) stream(peer string, theirs hello) (*Stream, bool, error) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	if known := l.streams[theirs.id]; known != nil {
		if known.peer != peer || known.stream.Err() != nil {
			return nil, false, ErrReset
		}
		return known.stream, false, nil
	}
	if !theirs.isNew || theirs.id == (ID{}) {
		return nil, false, ErrReset
	}
	if len(l.streams) >= l.most {
		return nil, false, ErrFull
	}
	made := newStream(theirs.id, l.config, false)
	l.streams[theirs.id] = &accepted{made, peer}
	go l.forget(theirs.id, made)
	return made, true, nil
}

// forget removes a stream once it is over and the peer has had time to hear of it.
func (l *Listener) forget(id ID, stream *Stream) {
	<-stream.Done()
	time.AfterFunc(l.config.Patience, func() {
		l.mutex.Lock()
		defer l.mutex.Unlock()
		delete(l.streams, id)
	})
}

// Close breaks all streams.
func (l *Listener) Close() {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	for _, each := range l.streams {
		each.stream.Reset()
	}
}
