package resume_test

import (
	"context"
	"errors"
	"net"
	"syscall"
	"testing"
	"time"

	"e3/tools/tunnel/forward"
	"e3/tools/tunnel/resume"
)

func TestAProgramTellsABrokenStreamFromAnEnd(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	program, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer program.Close()
	accepted, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	stream, err := resume.Dial(t.Context(), resume.Config{}, func(ctx context.Context) (net.Conn, error) {
		<-ctx.Done() // nobody answers
		return nil, ctx.Err()
	})
	if err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(10*time.Millisecond, stream.Reset)
	forward.Join(t.Context(), resume.Local{TCPConn: accepted.(*net.TCPConn), Stream: stream}, stream)
	_ = program.SetReadDeadline(time.Now().Add(5 * time.Second))
	if _, err := program.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the program reads %v", err)
	}
}
