package node

import (
	"context"
	"crypto/tls"
	"net"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-libp2p/core/sec"
	"github.com/libp2p/go-libp2p/p2p/net/upgrader"
	"github.com/libp2p/go-libp2p/p2p/security/noise"
	libp2ptls "github.com/libp2p/go-libp2p/p2p/security/tls"
	"github.com/quic-go/quic-go"
)

// noiseExchange is that of libp2p's Noise handshake, Noise_XX_25519_ChaChaPoly_SHA256.
const noiseExchange = "X25519"

// tlsTransport is libp2p's TLS whose connections tell which exchange of keys they have made.
type tlsTransport struct{ *libp2ptls.Transport }

func newTLS(id protocol.ID, key crypto.PrivKey, muxers []upgrader.StreamMuxer) (*tlsTransport, error) {
	made, err := libp2ptls.New(id, key, muxers)
	return &tlsTransport{made}, err
}

// SecureInbound is that of libp2p.
func (t *tlsTransport) SecureInbound(ctx context.Context, raw net.Conn, p peer.ID) (sec.SecureConn, error) {
	return telling(t.Transport.SecureInbound(ctx, raw, p))
}

// SecureOutbound is that of libp2p.
func (t *tlsTransport) SecureOutbound(ctx context.Context, raw net.Conn, p peer.ID) (sec.SecureConn, error) {
	return telling(t.Transport.SecureOutbound(ctx, raw, p))
}

// tellingConn has the exchange beside the peer's key: of a secured connection, libp2p passes on little
// else to whoever holds the connection that it becomes.
type tellingConn struct {
	sec.SecureConn
	exchange string
}

type tellingKey struct {
	crypto.PubKey
	exchange string
}

func telling(secured sec.SecureConn, err error) (sec.SecureConn, error) {
	if err != nil {
		return nil, err
	}
	made, ok := secured.(interface{ ConnectionState() tls.ConnectionState })
	if !ok {
		return secured, nil
	}
	return tellingConn{secured, made.ConnectionState().CurveID.String()}, nil
}

func (c tellingConn) RemotePublicKey() crypto.PubKey {
	return tellingKey{c.SecureConn.RemotePublicKey(), c.exchange}
}

// exchangeOf returns how the two ends of a connection made its keys, empty if that is not known.
func exchangeOf(c network.Conn) string {
	if c.ConnState().Security == noise.ID {
		return noiseExchange
	}
	if key, ok := c.RemotePublicKey().(tellingKey); ok {
		return key.exchange
	}
	var over *quic.Conn
	if c.As(&over) {
		return over.ConnectionState().TLS.CurveID.String()
	}
	return ""
}
