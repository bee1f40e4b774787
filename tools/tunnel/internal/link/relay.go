package link

import (
	"time"

	"github.com/pion/stun/v3"

	"e3/tools/tunnel/internal/wire"
)

const (
	bindEvery = 10 * time.Second // keeps the NAT's mapping to the relay
	bindRetry = 400 * time.Millisecond
)

// channel is a peer's channel at a relay. Guarded by Link.mutex.
type channel struct {
	peer   *Peer
	grant  Grant
	number uint16
	nonce  string
	asked  time.Time
	bound  time.Time // zero until the relay has agreed
	path   *Path
}

// setRelay makes the peer's channel that of its grant.
func (l *Link) setRelay(peer *Peer) {
	grant := peer.PeerConfig.Relay
	if peer.relay != nil && (grant == nil || peer.relay.grant != *grant) {
		if peer.relay.path != nil {
			l.removePath(peer.relay.path)
		}
		peer.relay = nil
	}
	if peer.relay == nil && grant != nil && grant.UDP.IsValid() && l.config.datagrams() {
		number := uint16(wire.FirstChannel + peer.ID)
		peer.relay = &channel{peer: peer, grant: *grant, number: number}
	}
}

// keepRelay binds the channel when it is time.
func (l *Link) keepRelay(peer *Peer, now time.Time) {
	relay := peer.relay
	if relay == nil {
		return
	}
	every := bindEvery
	if relay.bound.IsZero() || relay.asked.After(relay.bound) {
		every = bindRetry
		if now.Sub(peer.searching) > searchFor {
			every = spareEvery
		}
	}
	if now.Sub(relay.asked) >= every {
		l.bind(relay, now)
	}
}

func (l *Link) bind(relay *channel, now time.Time) {
	relay.asked = now
	request, err := relay.grant.Token.ChannelBind(relay.number, relay.nonce)
	if err != nil {
		return
	}
	l.begin(request, transaction{channel: relay, sent: now})
	_ = l.Bind.send(relay.grant.UDP, request.Raw)
}

// bound takes the relay's answer: a nonce, with which it is asked again, or its agreement.
func (l *Link) bound(message *stun.Message, from source, relay *channel, now time.Time) {
	if from.address != relay.grant.UDP || relay.peer.relay != relay {
		return
	}
	if message.Type.Class == stun.ClassErrorResponse {
		code, nonce := wire.ErrorIn(message)
		if (code == stun.CodeUnauthorized || code == stun.CodeStaleNonce) && nonce != "" {
			again := nonce != relay.nonce
			relay.nonce = nonce
			if again {
				l.bind(relay, now)
			}
		}
		return
	}
	if !relay.grant.Token.Authentic(message) {
		return
	}
	relay.bound = now
	if relay.path == nil {
		to := source{address: relay.grant.UDP, channel: relay.number}
		relay.path = &Path{peer: relay.peer, kind: Relay, from: to}
		if l.add(relay.path) {
			l.check(relay.path, now)
		}
	} else if !relay.path.alive(now) {
		l.check(relay.path, now)
	}
}
