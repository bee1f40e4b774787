package link

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/pion/stun/v3"

	"e3/tools/tunnel/internal/wire"
)

// TLS over TCP, where no datagram passes. Certificates are of one session and self-signed; each
// side takes only that one of the other whose SHA-256 the parties have exchanged.

const (
	protocol      = "e3-session/1" // ALPN
	tcpAfter      = 1500 * time.Millisecond
	tcpSoon       = 200 * time.Millisecond // where datagrams have passed before, or none are asked for
	relayAfter    = 300 * time.Millisecond // a direct connection is better
	tcpAgain      = 2 * time.Second
	mostAgain     = 4                // times that a pair joined by a relay tries to do without, each twice as late
	silentFor     = 3 * time.Second  // a new connection has so long for its first answer
	tcpKept       = 30 * time.Second // once datagrams pass again
	dialFor       = 3 * time.Second
	handshakeFor  = 5 * time.Second
	partnerFor    = 15 * time.Second // until the peer has come to the relay, too
	maxHandshakes = 16
	keepAlive     = 15 * time.Second
)

var errStranger = errors.New("the certificate is of no peer")

type acceptor struct {
	listener net.Listener
	port     uint16
}

func (a *acceptor) close() { _ = a.listener.Close() }

// accept begins to take connections of peers.
func (l *Link) accept() error {
	address := net.TCPAddr{Port: int(l.config.TCPPort)}
	listener, err := net.ListenTCP("tcp", &address)
	if err != nil {
		return err
	}
	l.acceptor = &acceptor{listener, uint16(listener.Addr().(*net.TCPAddr).Port)}
	go l.accepting(listener)
	return nil
}

func (l *Link) accepting(listener net.Listener) {
	places := make(chan struct{}, maxHandshakes)
	for {
		connection, err := listener.Accept()
		if err != nil {
			return
		}
		select {
		case places <- struct{}{}:
			go l.welcome(connection, func() { <-places })
		default:
			_ = connection.Close()
		}
	}
}

// welcome takes a connection if it is a peer's.
func (l *Link) welcome(connection net.Conn, done func()) {
	var peer *Peer
	secured := tls.Server(connection, l.server(func(certificate [32]byte) bool {
		peer = l.byCertificate(certificate)
		return peer != nil
	}))
	err := handshake(secured, handshakeFor)
	done()
	if err != nil || l.config.RelayOnly {
		_ = connection.Close()
		return
	}
	l.carry(secured, peer, TCP)
}

func (l *Link) byCertificate(certificate [32]byte) *Peer {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	for _, peer := range l.peers {
		if peer.Certificate == certificate && !peer.Controlling {
			return peer
		}
	}
	return nil
}

func handshake(connection *tls.Conn, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	return connection.HandshakeContext(ctx)
}

func (l *Link) server(known func([32]byte) bool) *tls.Config {
	return &tls.Config{
		Certificates:     []tls.Certificate{l.config.Certificate},
		ClientAuth:       tls.RequireAnyClientCert,
		VerifyConnection: verifying(known),
		MinVersion:       tls.VersionTLS13,
		NextProtos:       []string{protocol},
		// a session is short, and a ticket would outlive what was verified
		SessionTicketsDisabled: true,
	}
}

func (l *Link) client(peer *Peer) *tls.Config {
	return &tls.Config{
		Certificates: []tls.Certificate{l.config.Certificate},
		// no name and no authority: VerifyConnection takes one certificate alone
		InsecureSkipVerify: true,
		VerifyConnection:   verifying(func(it [32]byte) bool { return it == peer.Certificate }),
		MinVersion:         tls.VersionTLS13,
		NextProtos:         []string{protocol},
	}
}

func verifying(known func([32]byte) bool) func(tls.ConnectionState) error {
	return func(state tls.ConnectionState) error {
		if len(state.PeerCertificates) != 1 || !known(sha256.Sum256(state.PeerCertificates[0].Raw)) {
			return errStranger
		}
		return nil
	}
}

// considerTCP begins to connect by TCP when datagrams have not passed for a moment, and ends that
// once they have passed again for a while.
func (l *Link) considerTCP(peer *Peer, now time.Time) {
	if l.config.WithoutTCP || peer.Certificate == [32]byte{} {
		return
	}
	if peer.reached(now) {
		if !peer.lacksUDP.IsZero() {
			peer.lacksUDP, peer.reachedSince = time.Time{}, now
		}
		if now.Sub(peer.reachedSince) > tcpKept {
			for _, path := range peer.paths {
				if path.from.stream != nil {
					path.from.stream.close()
				}
			}
		}
		return
	}
	if peer.lacksUDP.IsZero() {
		peer.lacksUDP = now
	}
	after := tcpAfter
	if !peer.reachedSince.IsZero() || !l.config.datagrams() {
		after = tcpSoon
	}
	peer.cutSilent(now)
	if now.Sub(peer.lacksUDP) < after || peer.dialing || now.Before(peer.dialNext) {
		return
	}
	switch {
	case !peer.connectedBy(TCPRelay) || peer.connectedBy(TCP):
		peer.again = 0
		if peer.connected() {
			return
		}
	case !l.config.datagrams(): // its stream would not move to another connection
		return
	case peer.again == mostAgain || len(l.dialled(peer.PeerConfig)) == 0:
		return
	default: // a peer that many call at once refuses some
		peer.again++
	}
	pause := tcpAgain << peer.again
	peer.dialing = true
	go l.connect(peer, peer.PeerConfig, pause)
}

// dialled returns the addresses at which this side dials a peer.
func (l *Link) dialled(config PeerConfig) []netip.AddrPort {
	var found []netip.AddrPort
	for _, candidate := range config.Candidates {
		if candidate.Kind == TCP && config.Controlling && !l.config.RelayOnly {
			found = append(found, candidate.Address)
		}
	}
	return found
}

// connect tries every way by TCP at once; what succeeds lasts until it breaks. What fails is tried again after a
// pause.
func (l *Link) connect(peer *Peer, config PeerConfig, pause time.Duration) {
	var trials sync.WaitGroup
	wait := time.Duration(0)
	for _, address := range l.dialled(config) {
		trials.Go(func() { l.dial(peer, address) })
		wait = relayAfter
	}
	if config.Relay != nil && config.Relay.TCP.IsValid() {
		trials.Go(func() {
			time.Sleep(wait)
			if !l.connected(peer) {
				l.dialRelay(peer, config)
			}
		})
	}
	trials.Wait()
	l.mutex.Lock()
	peer.dialing, peer.dialNext = false, time.Now().Add(pause)
	l.mutex.Unlock()
}

// cutSilent ends connections on which nobody answers: TCP itself would wait for minutes.
func (p *Peer) cutSilent(now time.Time) {
	for _, path := range p.paths {
		s := path.from.stream
		if s != nil && s.queue != nil && !path.alive(now) && now.Sub(s.began) > silentFor {
			s.close()
		}
	}
}

// connected tells whether a connection with the peer lives.
func (p *Peer) connected() bool { return p.connectedBy(TCP) || p.connectedBy(TCPRelay) }

func (p *Peer) connectedBy(kind Kind) bool {
	for _, path := range p.paths {
		if path.kind == kind && !path.from.stream.dead() {
			return true
		}
	}
	return false
}

func (l *Link) connected(peer *Peer) bool {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	return peer.connected()
}

func (l *Link) dial(peer *Peer, to netip.AddrPort) {
	connection, err := dialTCP(to)
	if err != nil {
		return
	}
	secured := tls.Client(connection, l.client(peer))
	if handshake(secured, handshakeFor) != nil {
		_ = connection.Close()
		return
	}
	go l.carry(secured, peer, TCP)
}

// dialRelay meets the peer at the relay: it splices both connections, and TLS is with the peer.
func (l *Link) dialRelay(peer *Peer, config PeerConfig) {
	connection, err := dialTCP(config.Relay.TCP)
	if err != nil {
		return
	}
	if bindStream(connection, config.Relay.Token) != nil {
		_ = connection.Close()
		return
	}
	var secured *tls.Conn
	if config.Controlling {
		secured = tls.Client(connection, l.client(peer))
	} else {
		secured = tls.Server(connection, l.server(func(it [32]byte) bool { return it == peer.Certificate }))
	}
	if handshake(secured, partnerFor) != nil {
		_ = connection.Close()
		return
	}
	go l.carry(secured, peer, TCPRelay)
}

// bindStream shows the token to a relay.
func bindStream(connection net.Conn, token wire.Token) error {
	_ = connection.SetDeadline(time.Now().Add(handshakeFor))
	nonce := ""
	for range 2 {
		request, err := token.ChannelBind(wire.FirstChannel, nonce)
		if err != nil {
			return err
		}
		if _, err := connection.Write(request.Raw); err != nil {
			return err
		}
		answer, err := wire.ReadMessage(connection)
		if err != nil {
			return err
		}
		if answer.TransactionID != request.TransactionID {
			return wire.ErrNotOurs
		}
		if answer.Type.Class == stun.ClassSuccessResponse && token.Authentic(answer) {
			return connection.SetDeadline(time.Time{})
		}
		_, nonce = wire.ErrorIn(answer)
	}
	return wire.ErrNotOurs
}

func dialTCP(to netip.AddrPort) (net.Conn, error) {
	dialer := net.Dialer{Timeout: dialFor, KeepAlive: keepAlive}
	return dialer.Dial("tcp", to.String())
}
