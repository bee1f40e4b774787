package resume

import "net"

// Local is a connection of this host that a stream carries on. If the stream breaks, it is reset: its
// program would take an end for one of the other program.
type Local struct {
	*net.TCPConn
	Stream *Stream
}

// Close ends the connection as the stream ended.
func (l Local) Close() error {
	if l.Stream.Err() != nil {
		_ = l.SetLinger(0)
	}
	return l.TCPConn.Close()
}

// Departing is one that a program of this host began. If the program ends it before the other side has
// answered, the stream breaks: what it wrote must not arrive later, when it does not wait any more.
type Departing struct{ Local }

func (d Departing) Read(into []byte) (int, error) {
	count, err := d.Local.Read(into)
	if err != nil && !d.Stream.begun() {
		d.Stream.Reset()
		return count, ErrReset
	}
	return count, err
}
