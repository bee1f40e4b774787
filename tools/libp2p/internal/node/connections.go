package node

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-libp2p/p2p/protocol/ping"
	"github.com/multiformats/go-multiaddr"
	"github.com/multiformats/go-multistream"
)

var errNoConnection = errors.New("there is no connection to it")

// relayed says whether the connection passes a relay.
func relayed(c network.Conn) bool {
	_, err := c.RemoteMultiaddr().ValueForProtocol(multiaddr.P_CIRCUIT)
	return err == nil
}

// relayOf returns the relay that the connection passes.
func relayOf(c network.Conn) (peer.ID, bool) {
	before, circuit := multiaddr.SplitFunc(c.RemoteMultiaddr(), func(part multiaddr.Component) bool {
		return part.Protocol().Code == multiaddr.P_CIRCUIT
	})
	if circuit == nil {
		return "", false
	}
	text, err := before.ValueForProtocol(multiaddr.P_P2P)
	if err != nil {
		return "", false
	}
	id, err := peer.Decode(text)
	return id, err == nil
}

// best returns the connection that streams to a peer take: a direct one, and the newest of its kind.
// An older one may have died without a word, as after a change of address.
func (n *Node) best(id peer.ID) network.Conn {
	var found network.Conn
	for _, each := range n.host.Network().ConnsToPeer(id) {
		switch {
		case each.IsClosed():
		case found == nil || relayed(found) && !relayed(each):
			found = each
		case relayed(found) == relayed(each) && each.Stat().Opened.After(found.Stat().Opened):
			found = each
		}
	}
	return found
}

// stream opens a stream on a connection.
func stream(ctx context.Context, on network.Conn, of protocol.ID) (network.Stream, error) {
	opened, err := on.NewStream(network.WithAllowLimitedConn(ctx, "e3"))
	if err != nil {
		return nil, err
	}
	if until, limited := ctx.Deadline(); limited {
		_ = opened.SetDeadline(until)
	}
	if err := multistream.SelectProtoOrFail(of, opened); err != nil {
		_ = opened.Reset()
		return nil, err
	}
	return opened, opened.SetProtocol(of)
}

// alive returns nil if the peer answers on a connection.
func (n *Node) alive(on network.Conn) error {
	ctx, cancel := context.WithTimeout(context.Background(), n.patience(aliveTimeout))
	defer cancel()
	opened, err := stream(ctx, on, ping.ID)
	if err != nil {
		return err
	}
	defer opened.Reset() //nolint:errcheck // it is over either way
	sent, back := make([]byte, ping.PingSize), make([]byte, ping.PingSize)
	if _, err := rand.Read(sent); err != nil {
		return err
	}
	if _, err := opened.Write(sent); err != nil {
		return err
	}
	_, err = io.ReadFull(opened, back)
	if err == nil && !bytes.Equal(back, sent) {
		err = errors.New("it answers with something else")
	}
	return err
}

// connected closes the older connections of a peer that connects anew, if they died without a word.
// Relays would go on using them.
func (n *Node) connected(of network.Network, fresh network.Conn) {
	n.keeper.wake(fresh.RemotePeer())
	for _, older := range of.ConnsToPeer(fresh.RemotePeer()) {
		if older != fresh && relayed(older) == relayed(fresh) {
			go n.closeIfDead(older)
		}
	}
}

func (n *Node) disconnected(_ network.Network, former network.Conn) {
	n.keeper.wake(former.RemotePeer())
}

func (n *Node) closeIfDead(c network.Conn) {
	if n.alive(c) != nil {
		_ = c.Close()
	}
}
