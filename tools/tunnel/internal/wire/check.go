package wire

import (
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"net/netip"

	"github.com/pion/stun/v3"
)

// Pair has what two parties derive from their secret: the names of their checks, and the key.
//
// A check is a Binding request whose USERNAME is the name of its sender and whose
// MESSAGE-INTEGRITY has the key, as in RFC 8445, 7.1. Both are fresh with each session.
type Pair struct {
	Own, Peer string
	key       stun.MessageIntegrity
}

const (
	keyBytes  = 32
	nameBytes = 8
)

// ErrNotOurs is the error for a message that is of nobody known, or not authenticated.
var ErrNotOurs = errors.New("no message of a peer")

// NewPair derives names and key from the secret and both public keys of WireGuard.
func NewPair(secret, own, peer []byte) (Pair, error) {
	first, second := own, peer
	if string(own) > string(peer) {
		first, second = peer, own
	}
	about := string(first) + string(second)
	key, err := hkdf.Key(sha256.New, secret, nil, "e3 tunnel check key"+about, keyBytes)
	if err != nil {
		return Pair{}, err
	}
	ownName, err := hkdf.Key(sha256.New, secret, nil, "e3 tunnel check name"+string(own), nameBytes)
	if err != nil {
		return Pair{}, err
	}
	peerName, err := hkdf.Key(sha256.New, secret, nil, "e3 tunnel check name"+string(peer), nameBytes)
	if err != nil {
		return Pair{}, err
	}
	return Pair{Own: hex.EncodeToString(ownName), Peer: hex.EncodeToString(peerName), key: key}, nil
}

// Request returns a check and its transaction.
func (p Pair) Request() (*stun.Message, error) {
	return stun.Build(stun.TransactionID, stun.BindingRequest, stun.NewUsername(p.Own), p.key)
}

// Response answers a check that came from that address.
func (p Pair) Response(request *stun.Message, seen netip.AddrPort) (*stun.Message, error) {
	return stun.Build(
		stun.NewTransactionIDSetter(request.TransactionID), stun.BindingSuccess,
		Mapped(seen), stun.NewUsername(p.Own), p.key,
	)
}

// Authentic tells whether a message is of the peer of this pair.
func (p Pair) Authentic(message *stun.Message) bool {
	return Username(message) == p.Peer && p.key.Check(message) == nil
}

// Decode reads a STUN message into memory of its own.
func Decode(packet []byte) (*stun.Message, error) {
	message := &stun.Message{Raw: append([]byte(nil), packet...)}
	return message, message.Decode()
}

// Username returns the name in a message, or "".
func Username(message *stun.Message) string {
	value, err := message.Get(stun.AttrUsername)
	if err != nil {
		return ""
	}
	return string(value)
}

// Mapped returns the attribute XOR-MAPPED-ADDRESS.
func Mapped(address netip.AddrPort) *stun.XORMappedAddress {
	return &stun.XORMappedAddress{IP: address.Addr().AsSlice(), Port: int(address.Port())}
}

// MappedIn returns the address of XOR-MAPPED-ADDRESS.
func MappedIn(message *stun.Message) (netip.AddrPort, error) {
	var found stun.XORMappedAddress
	if err := found.GetFrom(message); err != nil {
		return netip.AddrPort{}, err
	}
	address, good := netip.AddrFromSlice(found.IP)
	if !good {
		return netip.AddrPort{}, ErrNotOurs
	}
	return netip.AddrPortFrom(address.Unmap(), uint16(found.Port)), nil
}

const (
	stunHeaderBytes = 20
	maxSTUNBytes    = 1024 // of a message over TCP
)

// ErrTooLong is the error for a message that is longer than any of ours.
var ErrTooLong = errors.New("a message of STUN is too long")

// ReadMessage reads one message of STUN from a stream, whose header has its length (RFC 8489, 6.2.2).
func ReadMessage(reader io.Reader) (*stun.Message, error) {
	raw := make([]byte, stunHeaderBytes, maxSTUNBytes)
	if _, err := io.ReadFull(reader, raw); err != nil {
		return nil, err
	}
	length := int(binary.BigEndian.Uint16(raw[2:]))
	if stunHeaderBytes+length > maxSTUNBytes {
		return nil, ErrTooLong
	}
	raw = raw[:stunHeaderBytes+length]
	if _, err := io.ReadFull(reader, raw[stunHeaderBytes:]); err != nil {
		return nil, err
	}
	return Decode(raw)
}
