// Package forward copies between a TCP connection and a stream of libp2p.
package forward

import (
	"io"
	"sync"
)

const bufferBytes = 64 << 10

// End is one of the two: each direction of it can be closed alone.
type End interface {
	io.ReadWriteCloser
	CloseWrite() error
}

// Join copies both ways until both ends have closed their direction, or one of them fails.
func Join(one, other End) {
	fail := sync.OnceFunc(func() {
		_ = one.Close()
		_ = other.Close()
	})
	defer fail()
	var both sync.WaitGroup
	both.Go(func() { pass(other, one, fail) })
	both.Go(func() { pass(one, other, fail) })
	both.Wait()
}

// pass copies one way, and then says that no more comes.
func pass(to, from End, fail func()) {
	_, err := io.CopyBuffer(plainWriter{to}, plainReader{from}, make([]byte, bufferBytes))
	if err != nil || to.CloseWrite() != nil {
		fail()
	}
}

// plainWriter and plainReader hide the methods by which io.CopyBuffer would pass by its buffer.
type (
	plainWriter struct{ io.Writer }
	plainReader struct{ io.Reader }
)
