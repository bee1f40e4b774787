package wire

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"

	"github.com/pion/stun/v3"
)

// TokenBytes is the length of a relay's token.
const TokenBytes = 16

// Token admits one side of a pair to a relay.
//
// It is the key of the messages that bind a channel and never travels. They are of the method
// ChannelBind (RFC 8656, 12) with USERNAME, the token's name, and are authenticated as in RFC
// 8489, 9.2: the relay answers the first by error 401 and a NONCE that is good for that source
// alone, so that nobody can bind a channel to an address that is not theirs.
type Token [TokenBytes]byte

// Name returns the public name of a token.
func (t Token) Name() string {
	sum := sha256.Sum256(append([]byte("e3 relay token"), t[:]...))
	return hex.EncodeToString(sum[:8])
}

func (t Token) key() stun.MessageIntegrity { return stun.MessageIntegrity(t[:]) }

// ParseToken reads a token from 32 hexadecimal digits.
func ParseToken(text string) (Token, bool) {
	var token Token
	raw, err := hex.DecodeString(text)
	if err != nil || len(raw) != TokenBytes {
		return token, false
	}
	copy(token[:], raw)
	return token, true
}

// ChannelBind returns a request to bind the channel; without a nonce it asks for one.
func (t Token) ChannelBind(channel uint16, nonce string) (*stun.Message, error) {
	setters := []stun.Setter{
		stun.TransactionID,
		stun.NewType(stun.MethodChannelBind, stun.ClassRequest),
		channelAttribute(channel),
		stun.NewUsername(t.Name()),
	}
	if nonce != "" {
		setters = append(setters, stun.NewNonce(nonce), t.key())
	}
	return stun.Build(setters...)
}

// Authentic tells whether the message has this token's key.
func (t Token) Authentic(message *stun.Message) bool { return t.key().Check(message) == nil }

// Bound answers a request to bind with success.
func (t Token) Bound(request *stun.Message) (*stun.Message, error) {
	return stun.Build(
		stun.NewTransactionIDSetter(request.TransactionID),
		stun.NewType(stun.MethodChannelBind, stun.ClassSuccessResponse),
		t.key(),
	)
}

// Refused answers a request with an error, and a nonce if there is one to give.
func Refused(request *stun.Message, code stun.ErrorCode, nonce string) (*stun.Message, error) {
	setters := []stun.Setter{
		stun.NewTransactionIDSetter(request.TransactionID),
		stun.NewType(request.Type.Method, stun.ClassErrorResponse),
		code,
	}
	if nonce != "" {
		setters = append(setters, stun.NewNonce(nonce))
	}
	return stun.Build(setters...)
}

// ErrorIn returns code and nonce of an error response.
func ErrorIn(message *stun.Message) (stun.ErrorCode, string) {
	var code stun.ErrorCodeAttribute
	if code.GetFrom(message) != nil {
		return 0, ""
	}
	return code.Code, NonceIn(message)
}

// NonceIn returns the nonce of a message, or "".
func NonceIn(message *stun.Message) string {
	nonce, err := message.Get(stun.AttrNonce)
	if err != nil {
		return ""
	}
	return string(nonce)
}

// ChannelIn returns the channel that a request names, 0 if it names none that may be.
func ChannelIn(message *stun.Message) uint16 {
	value, err := message.Get(stun.AttrChannelNumber)
	if err != nil || len(value) != 4 {
		return 0
	}
	channel := binary.BigEndian.Uint16(value)
	if channel < FirstChannel || channel > LastChannel {
		return 0
	}
	return channel
}

func channelAttribute(channel uint16) stun.RawAttribute {
	value := binary.BigEndian.AppendUint16(nil, channel)
	return stun.RawAttribute{Type: stun.AttrChannelNumber, Value: append(value, 0, 0)}
}
