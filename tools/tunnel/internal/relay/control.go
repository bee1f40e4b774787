package relay

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/netip"
	"time"

	"e3/tools/tunnel/internal/lines"
	"e3/tools/tunnel/internal/wire"
)

const (
	maxPorts   = 4
	maxSeconds = 7 * 24 * 3600
)

// envelope is what every command has.
type envelope struct {
	Do string `json:"do"`
	ID int64  `json:"id"`
}

type openCommand struct {
	envelope
	// UDP are the ports of STUN and of frames, best two, so that a mapping can be told.
	UDP []uint16 `json:"udp"`
	// TCP is the port of connections, null for none.
	TCP *uint16 `json:"tcp"`
	// Backend gets connections that begin as TLS.
	Backend string `json:"tls_backend"`
}

type grantCommand struct {
	envelope
	Tokens  [2]string `json:"tokens"`
	Bytes   uint64    `json:"bytes"`
	Seconds float64   `json:"seconds"`
	Rate    uint64    `json:"bytes_per_second"`
}

type revokeCommand struct {
	envelope
	Token string `json:"token"`
}

type answer struct {
	Event   string   `json:"event"`
	ID      int64    `json:"id"`
	UDP     []uint16 `json:"udp,omitempty"`
	TCP     uint16   `json:"tcp,omitempty"`
	Message string   `json:"message,omitempty"`
}

type report struct {
	Event     string `json:"event"`
	ID        int64  `json:"id"`
	Grants    int    `json:"grants"`
	Forwarded uint64 `json:"forwarded_bytes"`
	Dropped   uint64 `json:"dropped_datagrams"`
	Bindings  uint64 `json:"stun_requests"`
}

// Run obeys the commands that come in until they end.
func Run(in io.Reader, out io.Writer) error {
	r, err := New()
	if err != nil {
		return err
	}
	defer r.Close()
	writer := lines.NewWriter(out)
	return lines.Each(in, func(line []byte) error {
		var command envelope
		err := json.Unmarshal(line, &command)
		var said any
		if err == nil {
			said, err = r.obey(command, line)
		}
		if err != nil {
			said = answer{Event: "error", ID: command.ID, Message: lines.Shown(err)}
		}
		return writer.Write(said)
	})
}

func (r *Relay) obey(command envelope, line []byte) (any, error) {
	done := answer{Event: "done", ID: command.ID}
	switch command.Do {
	case "open":
		var c openCommand
		if err := lines.Decode(line, &c); err != nil {
			return nil, err
		}
		return r.open(c)
	case "grant":
		var c grantCommand
		if err := lines.Decode(line, &c); err != nil {
			return nil, err
		}
		return done, r.grant(c)
	case "revoke":
		var c revokeCommand
		if err := lines.Decode(line, &c); err != nil {
			return nil, err
		}
		token, good := wire.ParseToken(c.Token)
		if !good {
			return nil, errors.New("token is not 32 hexadecimal digits")
		}
		return done, r.Remove(token)
	case "report":
		r.mutex.RLock()
		defer r.mutex.RUnlock()
		return report{
			Event: "report", ID: command.ID, Grants: len(r.names) / 2,
			Forwarded: r.counted.forwarded.Load(), Dropped: r.counted.dropped.Load(),
			Bindings: r.counted.bindings.Load(),
		}, nil
	}
	return nil, fmt.Errorf("do %.40q is none of open, grant, revoke, report", command.Do)
}

func (r *Relay) open(c openCommand) (any, error) {
	if len(r.sockets) > 0 || r.stream != nil {
		return nil, errors.New("it is open already")
	}
	if len(c.UDP) > maxPorts {
		return nil, fmt.Errorf("udp has %d ports; %d are possible", len(c.UDP), maxPorts)
	}
	if c.Backend != "" {
		address, err := netip.ParseAddrPort(c.Backend)
		if err != nil || !address.Addr().IsLoopback() {
			return nil, fmt.Errorf("tls_backend %.60q is no address and port of the loopback", c.Backend)
		}
	}
	said := answer{Event: "opened", ID: c.ID}
	for _, port := range c.UDP {
		actual, err := r.ListenUDP(port)
		if err != nil {
			return nil, err
		}
		said.UDP = append(said.UDP, actual)
	}
	if c.TCP != nil {
		actual, err := r.ListenTCP(*c.TCP, c.Backend)
		if err != nil {
			return nil, err
		}
		said.TCP = actual
	}
	return said, nil
}

func (r *Relay) grant(c grantCommand) error {
	wanted := Grant{Bytes: c.Bytes, Rate: c.Rate}
	for i, text := range c.Tokens {
		token, good := wire.ParseToken(text)
		if !good {
			return errors.New("a token is not 32 hexadecimal digits")
		}
		wanted.Tokens[i] = token
	}
	if !(c.Seconds > 0 && c.Seconds <= maxSeconds) {
		return fmt.Errorf("seconds %g is not from 0 to %d", c.Seconds, maxSeconds)
	}
	if c.Bytes == 0 || c.Rate == 0 || c.Rate > math.MaxInt32 {
		return fmt.Errorf("bytes and bytes_per_second must be positive, the latter below 2^31")
	}
	wanted.Expires = time.Now().Add(time.Duration(c.Seconds * float64(time.Second)))
	return r.Add(wanted)
}
