package onions

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

const (
	virtualPort   = 1
	stuckFor      = 10 * time.Second
	controlFor    = 5 * time.Second
	socksAccepted = 0
)

var errSocks = errors.New("Tor does not connect")

// tor is the Tor of this host, by its sockets.
type tor struct{ socks, control string }

// calls dials an onion service again and again, as a stream needs it.
//
// After a failure Tor does not try again for minutes, and it waits as long for a dead circuit. So when
// calls have failed for a while, then for twice as long, ..., Tor is told to forget what it knows.
type calls struct {
	tor      tor
	onion    string
	port     uint16
	since    time.Time
	patience time.Duration
	reached  atomic.Bool
}

func (t tor) calls(onion string, port uint16) *calls {
	return &calls{tor: t, onion: onion, port: port, since: time.Now(), patience: stuckFor}
}

// dial returns a connection at once: what is written goes along with Tor's request, as each round trip
// through six relays takes a second. Whether Tor has connected, the first Read tells.
func (c *calls) dial(ctx context.Context) (net.Conn, error) {
	if c.reached.Swap(false) {
		c.since, c.patience = time.Now(), stuckFor
	}
	if time.Since(c.since) > c.patience {
		c.patience *= 2
		c.tor.forget()
	}
	var dialer net.Dialer
	connection, err := dialer.DialContext(ctx, "unix", c.tor.socks)
	if err != nil {
		return nil, err
	}
	// SOCKS 5 (RFC 1928): no authentication; connect to a name; then what the peer reads first
	name := c.onion + ".onion"
	request := append([]byte{5, 1, 0, 5, 1, 0, 3, byte(len(name))}, name...)
	request = binary.BigEndian.AppendUint16(request, virtualPort)
	request = binary.BigEndian.AppendUint16(request, c.port)
	if _, err := connection.Write(request); err != nil {
		_ = connection.Close()
		return nil, err
	}
	return &called{UnixConn: connection.(*net.UnixConn), by: c}, nil
}

// called is a connection through Tor, whose answer to the request is read before anything else.
type called struct {
	*net.UnixConn
	by   *calls
	once sync.Once
	err  error
}

func (c *called) Read(into []byte) (int, error) {
	c.once.Do(func() {
		if c.err = answered(c.UnixConn); c.err == nil {
			c.by.reached.Store(true)
		}
	})
	if c.err != nil {
		return 0, c.err
	}
	return c.UnixConn.Read(into)
}

func answered(from io.Reader) error {
	var head [6]byte // of the method, and of the reply
	if _, err := io.ReadFull(from, head[:]); err != nil {
		return err
	}
	if head[3] != socksAccepted {
		return fmt.Errorf("%w: SOCKS status %d", errSocks, head[3])
	}
	length := map[byte]int{1: 4, 4: 16}[head[5]]
	if length == 0 {
		return fmt.Errorf("%w: an address of kind %d", errSocks, head[5])
	}
	_, err := io.ReadFull(from, make([]byte, length+2))
	return err
}

// forget makes Tor forget services, circuits and keys to dial with; open connections stay. Tor does so
// every 10 s at most, and tells the onion proxy, which gives it the keys again.
func (t tor) forget() {
	connection, err := net.DialTimeout("unix", t.control, controlFor)
	if err != nil {
		return
	}
	defer connection.Close()
	_ = connection.SetDeadline(time.Now().Add(controlFor))
	if _, err := io.WriteString(connection, "AUTHENTICATE\r\nSIGNAL NEWNYM\r\nQUIT\r\n"); err == nil {
		_, _ = io.Copy(io.Discard, connection)
	}
}
