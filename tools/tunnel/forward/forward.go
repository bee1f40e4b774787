// Package forward joins local TCP connections with those of the tunnel.
//
// Whoever connects is accepted at once, before the other end is there: a program that MPyC starts
// dials its peers as soon as they listen, and cannot recover from a connection that ends at once. So
// a forwarder holds what it has accepted, and dials on until the other end accepts.
package forward

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

const (
	firstWait   = 20 * time.Millisecond
	longestWait = 500 * time.Millisecond
	oneTry      = 5 * time.Second
	firstBytes  = 4 << 10 // of a buffer, of which a host has two for each of hundreds of connections
	bufferBytes = 256 << 10
	// MaxConnections is how many connections one listener forwards at a time.
	MaxConnections = 256
)

// Connection is one end of what is joined; one that can say that no more comes has CloseWrite, too.
type Connection interface {
	io.Reader
	io.Writer
	io.Closer
}

// Dial makes the connection at the other end of one that was accepted.
type Dial func(ctx context.Context, accepted net.Conn) (Connection, error)

// ErrRefused is the error of a Dial that is not to be tried again.
var ErrRefused = errors.New("the connection is refused")

// Forwarder accepts at one end and dials at the other, until it is closed.
type Forwarder struct {
	listener net.Listener
	dial     Dial
	context  context.Context
	stop     context.CancelFunc
	places   chan struct{}
}

// Start forwards what the listener accepts; the forwarder owns the listener.
func Start(listener net.Listener, dial Dial) *Forwarder {
	ctx, stop := context.WithCancel(context.Background())
	f := &Forwarder{listener, dial, ctx, stop, make(chan struct{}, MaxConnections)}
	go f.run()
	return f
}

// Address is where the forwarder listens.
func (f *Forwarder) Address() net.Addr { return f.listener.Addr() }

// Close ends the listener and all connections.
func (f *Forwarder) Close() {
	f.stop()
	_ = f.listener.Close()
}

func (f *Forwarder) run() {
	for {
		accepted, err := f.listener.Accept()
		if err != nil {
			if f.context.Err() != nil || errors.Is(err, net.ErrClosed) {
				return
			}
			select { // such as no descriptor left: others will end
			case <-f.context.Done():
				return
			case <-time.After(longestWait):
			}
			continue
		}
		select {
		case f.places <- struct{}{}:
			go func() {
				defer func() { <-f.places }()
				f.forward(accepted)
			}()
		default:
			_ = accepted.Close()
		}
	}
}

func (f *Forwarder) forward(accepted net.Conn) {
	dialed, err := f.until(accepted)
	if err != nil {
		_ = accepted.Close()
		return
	}
	Join(f.context, accepted, dialed)
}

// until dials until it succeeds, is refused, or the forwarder ends. That who waits has gone is only seen once
// the data is read that belongs to the other end: then the connection is made, and ends after it.
func (f *Forwarder) until(accepted net.Conn) (Connection, error) {
	wait := firstWait
	for {
		ctx, cancel := context.WithTimeout(f.context, oneTry)
		dialed, err := f.dial(ctx, accepted)
		cancel()
		if err == nil || errors.Is(err, ErrRefused) {
			return dialed, err
		}
		select {
		case <-f.context.Done():
			return nil, f.context.Err()
		case <-time.After(wait):
		}
		wait = min(2*wait, longestWait)
	}
}

type halfCloser interface{ CloseWrite() error }

// Join copies both ways until both ends have closed, one of them fails, or the context ends.
func Join(ctx context.Context, one, other Connection) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := context.AfterFunc(ctx, func() {
		_ = one.Close()
		_ = other.Close()
	})
	defer ended()
	var both sync.WaitGroup
	both.Go(func() { pass(other, one, cancel) })
	both.Go(func() { pass(one, other, cancel) })
	both.Wait()
}

// pass copies one way, and then says that no more comes.
func pass(to, from Connection, fail context.CancelFunc) {
	err := copyAll(to, from)
	half, can := to.(halfCloser)
	if err != nil || !can || half.CloseWrite() != nil {
		fail()
	}
}

// copyAll copies until the end, by a buffer that grows while it is full.
func copyAll(to io.Writer, from io.Reader) error {
	buffer := make([]byte, firstBytes)
	for {
		count, err := from.Read(buffer)
		if count > 0 {
			if _, err := to.Write(buffer[:count]); err != nil {
				return err
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		case count == len(buffer) && count < bufferBytes:
			buffer = make([]byte, min(4*count, bufferBytes))
		}
	}
}
