package link

import (
	"crypto/tls"
	"net"
	"net/netip"
	"testing"
	"time"
)

var now = time.Unix(1_000_000, 0)

// path returns a path of that kind whose last answer came `ago`, with so many checks since then.
func path(peer *Peer, kind Kind, ago, rtt time.Duration, unanswered int) *Path {
	port := uint16(1000 + len(peer.paths))
	from := source{address: netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 18, 0, 1}), port)}
	made := &Path{
		peer: peer, kind: kind, from: from, rtt: rtt, answered: now.Add(-ago), unanswered: unanswered,
	}
	peer.paths = append(peer.paths, made)
	return made
}

func TestTheBestKindIsTaken(t *testing.T) {
	peer := &Peer{}
	relay := path(peer, Relay, 0, time.Millisecond, 0)
	if peer.best(now) != relay {
		t.Error("the only path is not taken")
	}
	reflexive := path(peer, Reflexive, 0, time.Second, 0)
	if peer.best(now) != reflexive {
		t.Error("a slower direct path is not taken before a relay")
	}
	slow := path(peer, Host, 0, 2*time.Millisecond, 0)
	fast := path(peer, Host, 0, time.Millisecond, 0)
	if peer.best(now) != fast {
		t.Error("of one kind the faster path is not taken")
	}
	peer.current.Store(slow)
	if peer.best(now) != slow {
		t.Error("a path in use is left for a faster one of its kind")
	}
}

func TestADeadPathIsLeft(t *testing.T) {
	peer := &Peer{}
	direct := path(peer, Host, 3*time.Second, time.Millisecond, lostChecks)
	relay := path(peer, Relay, 0, time.Millisecond, 0)
	peer.current.Store(direct)
	if peer.best(now) != relay {
		t.Error("a dead path stays in use")
	}
	direct.answered = time.Time{}
	relay.answered = now.Add(-time.Hour)
	relay.unanswered = lostChecks
	if peer.best(now) != nil {
		t.Error("a path that nobody answers is taken")
	}
}

func TestAnotherRelayTakesThePlaceOfTheOneInUse(t *testing.T) {
	l := New(Config{}, nil)
	config := PeerConfig{ID: 1, Relay: &Grant{UDP: netip.MustParseAddrPort("198.18.0.1:3478")}}
	peer := l.SetPeer(config)
	former := path(peer, Relay, 0, time.Millisecond, 0)
	peer.relay.path = former
	l.choose(peer, now)
	if peer.current.Load() != former {
		t.Fatal("the path by the relay is not taken")
	}
	config.Relay = &Grant{UDP: netip.MustParseAddrPort("198.18.0.2:3478")}
	l.SetPeer(config)
	l.choose(peer, now)
	if peer.current.Load() != nil {
		t.Error("the path by the former relay stays in use")
	}
	fresh := path(peer, Relay, 0, time.Millisecond, 0)
	l.choose(peer, now)
	if peer.current.Load() != fresh {
		t.Error("the path by the other relay is not taken")
	}
}

func TestAPairJoinedByARelayTriesToDoWithout(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	calls := make(chan struct{}, 3*mostAgain)
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			calls <- struct{}{}
			_ = connection.Close()
		}
	}()
	l := New(Config{}, nil)
	at := listener.Addr().(*net.TCPAddr).AddrPort()
	peer := &Peer{PeerConfig: PeerConfig{
		Controlling: true, Certificate: [32]byte{1}, Candidates: []Candidate{{TCP, at}},
	}}
	ours, theirs := net.Pipe()
	defer ours.Close()
	defer theirs.Close()
	path(peer, TCPRelay, 0, time.Millisecond, 0).from.stream = newStream(tls.Client(ours, nil))
	peer.lacksUDP = time.Now()
	var pauses []time.Duration
	for range 2 * mostAgain {
		l.mutex.Lock()
		l.considerTCP(peer, time.Now().Add(time.Hour))
		l.mutex.Unlock()
		for dialing := true; dialing; time.Sleep(time.Millisecond) {
			l.mutex.Lock()
			dialing = peer.dialing
			l.mutex.Unlock()
		}
		pauses = append(pauses, time.Until(peer.dialNext).Round(time.Second))
	}
	if len(calls) != mostAgain || pauses[0] != 2*tcpAgain || pauses[1] != 4*tcpAgain {
		t.Errorf("it was dialled %d times, after %v", len(calls), pauses)
	}
	l.config.Carry, peer.again, peer.dialNext = func(*Peer, net.Conn) {}, 0, time.Time{}
	l.considerTCP(peer, time.Now().Add(time.Hour))
	if peer.dialing {
		t.Error("it is dialled although what the relay carries would not move")
	}
}

func TestALateAnswerIsNoDeath(t *testing.T) {
	peer := &Peer{}
	if slow := path(peer, Host, time.Second, 300*time.Millisecond, lostChecks); !slow.alive(now) {
		t.Error("a path is dead one second after an answer")
	}
	if sleeper := path(peer, Relay, 30*time.Second, time.Millisecond, 1); !sleeper.alive(now) {
		t.Error("a path is dead after a single check")
	}
}

func TestPathsInDoubtAreCheckedSooner(t *testing.T) {
	peer := &Peer{}
	current := path(peer, Host, 0, time.Millisecond, 0)
	spare := path(peer, Relay, 0, time.Millisecond, 0)
	peer.current.Store(current)
	spare.asked = now.Add(-time.Second)
	if spare.due(now) {
		t.Error("a spare path is checked each second")
	}
	current.unanswered = 2
	if !spare.due(now) {
		t.Error("a spare path is not checked when the one in use is in doubt")
	}
}

func TestAPeerHasAtMostSoManyPaths(t *testing.T) {
	l := New(Config{}, nil)
	peer := &Peer{PeerConfig: PeerConfig{ID: 1}}
	for i := range 3 * maxPaths {
		from := source{address: netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 18, 0, 2}), uint16(i+1))}
		l.add(&Path{peer: peer, kind: Reflexive, from: from})
	}
	if len(peer.paths) != maxPaths {
		t.Errorf("there are %d paths", len(peer.paths))
	}
	for i := range peer.paths {
		peer.paths[i].answered = time.Now()
	}
	if l.add(&Path{peer: peer, kind: Reflexive}) {
		t.Error("a path takes the place of one that lives")
	}
}

func TestARelayOnlyPartyTellsNoAddress(t *testing.T) {
	l := New(Config{RelayOnly: true}, nil)
	l.gathering.hosts = []netip.Addr{netip.MustParseAddr("198.18.0.3")}
	if found := l.candidates(); len(found) != 0 {
		t.Errorf("it tells %v", found)
	}
}

func TestOtherServersAreAskedInARoundOfTheirOwn(t *testing.T) {
	one, other := netip.MustParseAddrPort("198.18.0.1:3478"), netip.MustParseAddrPort("198.18.0.2:3478")
	l := New(Config{Servers: []netip.AddrPort{one}}, nil)
	l.gathering.open, l.gathering.seen = true, map[netip.AddrPort]netip.AddrPort{one: one}
	l.SetServers([]netip.AddrPort{other})
	if l.gathering.open || len(l.config.Servers) != 1 || l.config.Servers[0] != other {
		t.Errorf("it asks %v", l.config.Servers)
	}
	overTLS := New(Config{Carry: func(*Peer, net.Conn) {}}, nil)
	overTLS.SetServers([]netip.AddrPort{other})
	if len(overTLS.config.Servers) != 0 {
		t.Error("without datagrams it asks servers of STUN")
	}
}
