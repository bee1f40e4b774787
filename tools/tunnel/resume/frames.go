package resume

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// The frames of a connection, integers big-endian. Both sides begin with a hello:
//
//	hello  version 1 byte, ID 16 bytes, received 8, limit 8, flags 1
//	data   1, length 4, bytes
//	ack    2, received 8, limit 8
//	end    3                      the sender writes no more
//	reset  4                      the stream is broken for good
//	ping   5
//
// Offsets count the bytes of a stream; its end counts as one more. A sender sends nothing at or
// beyond the limit, so a frame of data never waits for the reader, and no ack waits behind it.
const (
	version    = 1
	helloBytes = 1 + idBytes + 8 + 8 + 1
	idBytes    = 16
	maxData    = 32 << 10

	frameData  = 1
	frameAck   = 2
	frameEnd   = 3
	frameReset = 4
	framePing  = 5

	flagNew = 1 // of a hello: the stream begins with it
)

// ID names a stream; whoever knows it may go on with it, so it is random and secret.
type ID [idBytes]byte

// ErrProtocol is the error for a peer that says what it must not.
var ErrProtocol = errors.New("a stream's peer breaks the protocol")

type hello struct {
	id              ID
	received, limit uint64
	isNew           bool
}

func (h hello) bytes() []byte {
	out := append(make([]byte, 0, helloBytes), version)
	out = append(out, h.id[:]...)
	out = binary.BigEndian.AppendUint64(out, h.received)
	out = binary.BigEndian.AppendUint64(out, h.limit)
	flags := byte(0)
	if h.isNew {
		flags = flagNew
	}
	return append(out, flags)
}

func readHello(from io.Reader) (hello, error) {
	raw := make([]byte, helloBytes)
	if _, err := io.ReadFull(from, raw); err != nil {
		return hello{}, err
	}
	if raw[0] != version {
		return hello{}, fmt.Errorf("%w: version %d", ErrProtocol, raw[0])
	}
	h := hello{
		received: binary.BigEndian.Uint64(raw[1+idBytes:]),
		limit:    binary.BigEndian.Uint64(raw[1+idBytes+8:]),
		isNew:    raw[helloBytes-1]&flagNew != 0,
	}
	copy(h.id[:], raw[1:])
	return h, nil
}

func appendAck(out []byte, received, limit uint64) []byte {
	out = append(out, frameAck)
	out = binary.BigEndian.AppendUint64(out, received)
	return binary.BigEndian.AppendUint64(out, limit)
}

func appendDataHeader(out []byte, length int) []byte {
	return binary.BigEndian.AppendUint32(append(out, frameData), uint32(length))
}
