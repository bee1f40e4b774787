package link

import (
	"time"

	"github.com/pion/stun/v3"

	"e3/tools/tunnel/internal/wire"
)

// begin notes a request that is about to be sent.
func (l *Link) begin(message *stun.Message, about transaction) {
	if len(l.transactions) < maxTransactions {
		l.transactions[message.TransactionID] = about
	}
}

// check sends a check on a path.
func (l *Link) check(path *Path, now time.Time) {
	request, err := path.peer.Pair.Request()
	if err != nil {
		return
	}
	path.asked = now
	path.unanswered++
	l.begin(request, transaction{path: path, sent: now})
	// an error means that there is no route now: what the missing answer says, too
	_ = path.send(l.Bind, [][]byte{request.Raw})
}

// stun takes a message of STUN that came from there.
func (l *Link) stun(packet []byte, from source) {
	message, err := wire.Decode(packet)
	if err != nil {
		return
	}
	l.mutex.Lock()
	var news []func()
	if message.Type == stun.BindingRequest {
		l.asked(message, from)
	} else if waiting, known := l.transactions[message.TransactionID]; known {
		delete(l.transactions, message.TransactionID)
		news = l.answered(message, from, waiting)
	}
	l.post(news)
	l.mutex.Unlock()
}

// asked answers a check of a peer, and checks the way that it came if that is not known yet.
func (l *Link) asked(message *stun.Message, from source) {
	name := wire.Username(message)
	for _, peer := range l.peers {
		if peer.Pair.Peer != name || !peer.Pair.Authentic(message) {
			continue
		}
		if l.config.RelayOnly && from.channel == 0 && from.stream == nil {
			return
		}
		path := peer.path(from)
		if path == nil {
			if from.channel != 0 || from.stream != nil {
				return
			}
			path = &Path{peer: peer, kind: Reflexive, from: from}
			if !l.add(path) {
				return
			}
		}
		response, err := peer.Pair.Response(message, from.address)
		if err == nil {
			_ = path.send(l.Bind, [][]byte{response.Raw})
		}
		// at once: what the peer sends by this path is lost until the path is known to work
		if now := time.Now(); !path.alive(now) && now.Sub(path.asked) >= answerEvery {
			l.check(path, now)
		}
		return
	}
}

// answered takes the answer to a request.
func (l *Link) answered(message *stun.Message, from source, about transaction) []func() {
	now := time.Now()
	switch {
	case about.path != nil:
		path := about.path
		good := message.Type == stun.BindingSuccess && path.peer.Pair.Authentic(message)
		if !good || from != path.from || path.peer.path(from) != path {
			return nil
		}
		first := path.answered.IsZero()
		path.rtt, path.answered, path.unanswered = now.Sub(about.sent), now, 0
		if first {
			l.index()
		}
		return l.choose(path.peer, now)
	case about.channel != nil:
		l.bound(message, from, about.channel, now)
	case about.server.IsValid() && from.address == about.server:
		return l.reflected(message, about.server, now)
	}
	return nil
}
