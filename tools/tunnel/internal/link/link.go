// Package link finds the ways to peers and carries WireGuard's datagrams over the best of them.
//
// It checks every candidate address of a peer by authenticated STUN from the socket of WireGuard
// itself, as ICE does (RFC 8445), and goes on checking: a better way is taken once it answers, a
// dead one is left for the next. A relay serves where no address does, TLS over TCP where
// no datagram passes.
package link

import (
	"crypto/tls"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/stun/v3"
	"golang.zx2c4.com/wireguard/conn"
)

const (
	tickEvery       = 50 * time.Millisecond
	forgetAfter     = 5 * time.Second // a check that has no answer by then gets none
	maxTransactions = 4096
)

// Listener hears what happens; its methods are called with no lock held, one at a time.
type Listener interface {
	// Candidates are where this party may be reached now, and how its NAT maps.
	Candidates(found []Candidate, mapping string)
	// Path is the new path of a peer, nil if there is none.
	Path(peer *Peer, path *State)
}

// State is what can be told of a path.
type State struct {
	Kind       Kind
	Address    string
	RTT        time.Duration
	Alive      bool
	SentBytes  uint64
	HeardBytes uint64
}

// Config is how a party is reached.
type Config struct {
	Servers     []netip.AddrPort // of STUN, best two of one host
	Excluded    []string         // interfaces whose addresses are not candidates
	Loopback    bool             // whether loopback addresses are candidates
	RelayOnly   bool             // peers never learn an address
	TCPPort     uint16           // where TLS is accepted, 0 for any
	WithoutTCP  bool
	Certificate tls.Certificate
	// Carry, if there is one, is given each connection of TLS with a peer, and returns when it has
	// ended; then there are no datagrams.
	Carry func(peer *Peer, connection net.Conn)
}

func (c Config) datagrams() bool { return c.Carry == nil }

// Link is a party's connection with all its peers.
type Link struct {
	Bind     *Bind
	config   Config
	listener Listener
	port     atomic.Uint32
	sources  atomic.Pointer[map[source]*Path]

	mutex        sync.Mutex
	peers        map[int]*Peer
	transactions map[[stun.TransactionIDSize]byte]transaction
	gathering    gathering
	news         []func()
	posted       chan struct{}
	done         chan struct{}
	acceptor     *acceptor
}

// transaction is a request that waits for its answer: a check of a path, a question to a server
// of STUN, or a request to a relay.
type transaction struct {
	path    *Path
	server  netip.AddrPort
	channel *channel
	sent    time.Time
}

// New returns a link; WireGuard opens its socket through Link.Bind.
func New(config Config, listener Listener) *Link {
	if !config.datagrams() {
		config.Servers = nil // of which only datagrams ask
	}
	l := &Link{
		config:       config,
		listener:     listener,
		peers:        map[int]*Peer{},
		transactions: map[[stun.TransactionIDSize]byte]transaction{},
		posted:       make(chan struct{}, 1),
		done:         make(chan struct{}),
	}
	l.sources.Store(&map[source]*Path{})
	l.Bind = &Bind{
		link:   l,
		udp:    conn.NewStdNetBind().(*conn.StdNetBind),
		frames: make(chan frame, framesQueued),
	}
	return l
}

// Start begins to gather candidates and to check; the socket must be open.
func (l *Link) Start() error {
	if !l.config.WithoutTCP && !l.config.RelayOnly {
		if err := l.accept(); err != nil {
			return err
		}
	}
	l.Gather()
	go l.run()
	go l.tell()
	l.tick(time.Now())
	return nil
}

// Close ends checks and connections.
func (l *Link) Close() {
	close(l.done)
	l.mutex.Lock()
	defer l.mutex.Unlock()
	if l.acceptor != nil {
		l.acceptor.close()
	}
	for _, peer := range l.peers {
		l.drop(peer)
	}
}

// Port is the UDP port of the socket.
func (l *Link) Port() uint16 { return uint16(l.port.Load()) }

// SetPeer adds a peer, or changes its candidates and relay: paths that live go on.
func (l *Link) SetPeer(config PeerConfig) *Peer {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	peer, known := l.peers[config.ID]
	now := time.Now()
	if !known {
		peer = &Peer{PeerConfig: config, lacksUDP: now}
		l.peers[config.ID] = peer
	}
	peer.PeerConfig = config
	peer.searching = now
	for _, candidate := range config.Candidates {
		to := source{address: candidate.Address}
		if candidate.Kind.direct() && peer.path(to) == nil && l.config.datagrams() && !l.config.RelayOnly {
			l.add(&Path{peer: peer, kind: candidate.Kind, from: to})
		}
	}
	l.setRelay(peer)
	for _, path := range peer.paths {
		if path.due(now) {
			l.check(path, now)
		}
	}
	l.keepRelay(peer, now)
	return peer
}

// RemovePeer forgets a peer.
func (l *Link) RemovePeer(id int) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	if peer := l.peers[id]; peer != nil {
		l.drop(peer)
		delete(l.peers, id)
		l.index()
	}
}

// Current returns the path that a peer's datagrams take now, nil if there is none.
func (l *Link) Current(id int) *State {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	peer := l.peers[id]
	if peer == nil {
		return nil
	}
	current := peer.current.Load()
	if current == nil {
		return nil
	}
	state := current.state(time.Now())
	return &state
}

// Paths returns what is known of a peer's paths, the current one first.
func (l *Link) Paths(id int) []State {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	peer := l.peers[id]
	if peer == nil {
		return nil
	}
	now, current := time.Now(), peer.current.Load()
	var found []State
	if current != nil {
		found = append(found, current.state(now))
	}
	for _, path := range peer.paths {
		if path != current && path.alive(now) {
			found = append(found, path.state(now))
		}
	}
	return found
}

func (p *Path) state(now time.Time) State {
	return State{
		Kind: p.kind, Address: p.from.address.String(), RTT: p.rtt, Alive: p.alive(now),
		SentBytes: p.sentBytes.Load(), HeardBytes: p.heardBytes.Load(),
	}
}

func (l *Link) byName(name string) *Peer {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	for _, peer := range l.peers {
		if peer.Name == name {
			return peer
		}
	}
	return nil
}

// pathFrom returns the path whose datagrams come from there, nil if none has been answered there.
func (l *Link) pathFrom(from source) *Path { return (*l.sources.Load())[from] }

// add adds a path to its peer; beyond maxPaths it takes the place of one that is dead.
func (l *Link) add(path *Path) bool {
	peer, now := path.peer, time.Now()
	if len(peer.paths) >= maxPaths {
		for i, old := range peer.paths {
			if !old.alive(now) && old != peer.current.Load() && old.kind.direct() {
				peer.paths = append(peer.paths[:i], peer.paths[i+1:]...)
				break
			}
		}
	}
	if len(peer.paths) >= maxPaths {
		return false
	}
	peer.paths = append(peer.paths, path)
	return true
}

// removePath forgets a path. It may be the one in use, which is no more checked: so it is dead from now on.
func (l *Link) removePath(path *Path) {
	peer := path.peer
	path.answered = time.Time{}
	for i, known := range peer.paths {
		if known == path {
			peer.paths = append(peer.paths[:i], peer.paths[i+1:]...)
			break
		}
	}
	l.index()
}

// drop ends the paths of a peer.
func (l *Link) drop(peer *Peer) {
	for _, path := range peer.paths {
		if path.from.stream != nil {
			path.from.stream.close()
		}
	}
	peer.paths = nil
	peer.current.Store(nil)
}

// index notes which path datagrams take, by their source, of paths that were answered.
func (l *Link) index() {
	sources := map[source]*Path{}
	for _, peer := range l.peers {
		for _, path := range peer.paths {
			if !path.answered.IsZero() {
				sources[path.from] = path
			}
		}
	}
	l.sources.Store(&sources)
}

func (l *Link) run() {
	ticker := time.NewTicker(tickEvery)
	defer ticker.Stop()
	for {
		select {
		case <-l.done:
			return
		case now := <-ticker.C:
			l.tick(now)
		}
	}
}

// tick sends the checks that are due, and chooses.
func (l *Link) tick(now time.Time) {
	l.mutex.Lock()
	for id, waiting := range l.transactions {
		if now.Sub(waiting.sent) > forgetAfter {
			delete(l.transactions, id)
		}
	}
	var news []func()
	for _, peer := range l.peers {
		for _, path := range peer.paths {
			if path.due(now) {
				l.check(path, now)
			}
		}
		l.keepRelay(peer, now)
		l.considerTCP(peer, now)
		news = append(news, l.choose(peer, now)...)
	}
	news = append(news, l.gather(now)...)
	l.post(news)
	l.mutex.Unlock()
}

// choose takes the best path of a peer and returns what is to be told of it.
func (l *Link) choose(peer *Peer, now time.Time) []func() {
	before, best := peer.current.Load(), peer.best(now)
	if before == best {
		return nil
	}
	peer.current.Store(best)
	if best == nil || (before != nil && best.kind > before.kind) {
		// it became worse: look everywhere, also at what this party's own address is now
		peer.searching = now
		l.gathering.due = now
		if peer.relay != nil {
			peer.relay.asked = time.Time{}
		}
	}
	if best == nil {
		return []func(){func() { l.listener.Path(peer, nil) }}
	}
	state := best.state(now)
	return []func(){func() { l.listener.Path(peer, &state) }}
}

// post leaves news for the listener, which hears them in this order.
func (l *Link) post(news []func()) {
	if len(news) == 0 {
		return
	}
	l.news = append(l.news, news...)
	select {
	case l.posted <- struct{}{}:
	default:
	}
}

// tell passes news to the listener.
func (l *Link) tell() {
	for {
		select {
		case <-l.done:
			return
		case <-l.posted:
		}
		l.mutex.Lock()
		news := l.news
		l.news = nil
		l.mutex.Unlock()
		for _, each := range news {
			each()
		}
	}
}
