// Package wire tells apart what shares one UDP socket, and builds and reads the STUN messages.
//
// One socket carries WireGuard's messages, STUN (RFC 8489) and frames of a relay, whose shape is
// that of ChannelData (RFC 8656, 12.4). Their first bytes differ: WireGuard's are 1 to 4 and then
// three zeros, STUN's is 0 or 1 with the magic cookie at byte 4, a frame's is 0x40 to 0x4f.
package wire

import (
	"encoding/binary"

	"github.com/pion/stun/v3"
)

// Kind is what a datagram is.
type Kind int

// The kinds of datagrams; all else is Unknown and is dropped.
const (
	Unknown Kind = iota
	WireGuard
	STUN
	Frame
)

// HeaderBytes precede the payload of a frame: its channel and its length, two bytes each.
const HeaderBytes = 4

// FirstChannel and LastChannel are the channel numbers of RFC 8656, 12.
const (
	FirstChannel = 0x4000
	LastChannel  = 0x4FFF
)

// MaxDatagram is the most payload of a UDP datagram over IPv4.
const MaxDatagram = 65507

const lastWireGuardType = 4

// Classify returns what a datagram is.
func Classify(packet []byte) Kind {
	if len(packet) < HeaderBytes {
		return Unknown
	}
	if packet[0] >= 1 && packet[0] <= lastWireGuardType && packet[1]|packet[2]|packet[3] == 0 {
		return WireGuard
	}
	if packet[0] <= 1 && stun.IsMessage(packet) {
		return STUN
	}
	if channel := binary.BigEndian.Uint16(packet); channel >= FirstChannel && channel <= LastChannel {
		return Frame
	}
	return Unknown
}

// AppendFrame appends a frame of that channel to out.
func AppendFrame(out []byte, channel uint16, payload []byte) []byte {
	out = binary.BigEndian.AppendUint16(out, channel)
	out = binary.BigEndian.AppendUint16(out, uint16(len(payload)))
	return append(out, payload...)
}

// ReadFrame returns the channel and the payload of a frame, which Classify has found to be one; the
// payload is nil if the length is not that of the datagram.
func ReadFrame(packet []byte) (channel uint16, payload []byte) {
	length := int(binary.BigEndian.Uint16(packet[2:]))
	if length != len(packet)-HeaderBytes {
		return 0, nil
	}
	return binary.BigEndian.Uint16(packet), packet[HeaderBytes:]
}

// SetChannel replaces the channel of a frame.
func SetChannel(packet []byte, channel uint16) {
	binary.BigEndian.PutUint16(packet, channel)
}
