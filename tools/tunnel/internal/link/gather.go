package link

import (
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/pion/stun/v3"

	"e3/tools/tunnel/internal/wire"
)

const (
	gatherEvery      = 20 * time.Second // keeps a NAT's mapping, and sees that it changed
	gatherFor        = time.Second      // a later answer counts as well, but is not waited for
	gatherRetry      = 300 * time.Millisecond
	lookEvery        = 2 * time.Second // at this machine's own addresses
	maxHostAddresses = 8
)

// How a NAT maps, in the words of RFC 4787, 4.1; MappingUnknown without two answers.
const (
	MappingUnknown     = "unknown"
	MappingNone        = "none"
	MappingIndependent = "endpoint-independent"
	MappingDependent   = "address and port-dependent"
)

// gathering is what is known of this party's own addresses.
type gathering struct {
	due, began, asked, looked time.Time
	open                      bool // a round is under way
	seen                      map[netip.AddrPort]netip.AddrPort
	hosts                     []netip.Addr
	told                      []Candidate
	mapping                   string
	everTold                  bool
}

// Gather looks for this party's addresses again.
func (l *Link) Gather() {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	l.gathering.due = time.Now()
}

// SetServers lets these servers of STUN be asked from the next round on, which begins anew.
func (l *Link) SetServers(servers []netip.AddrPort) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	if l.config.datagrams() {
		l.config.Servers = servers
		l.gathering.open = false
	}
}

// gather asks the servers of STUN when it is time; it returns what is to be told.
func (l *Link) gather(now time.Time) []func() {
	g := &l.gathering
	if now.Sub(g.looked) >= lookEvery {
		g.looked = now
		if hosts := l.hostAddresses(); !slices.Equal(hosts, g.hosts) {
			g.hosts, g.due = hosts, now
			l.searchAgain(now)
		}
	}
	if !g.open && !now.Before(g.due) {
		g.open, g.began, g.due = true, now, now.Add(gatherEvery)
		g.asked, g.seen = time.Time{}, map[netip.AddrPort]netip.AddrPort{}
	}
	if !g.open {
		return nil
	}
	if len(g.seen) == len(l.config.Servers) || now.Sub(g.began) > gatherFor {
		g.open = false
		return l.gathered()
	}
	if now.Sub(g.asked) >= gatherRetry {
		g.asked = now
		for _, server := range l.config.Servers {
			if _, answered := g.seen[server]; !answered {
				l.ask(server, now)
			}
		}
	}
	return nil
}

// searchAgain checks everything at once, as this party's own address is another now.
func (l *Link) searchAgain(now time.Time) {
	for _, peer := range l.peers {
		peer.searching = now
		if peer.relay != nil {
			peer.relay.asked = time.Time{}
		}
	}
}

func (l *Link) ask(server netip.AddrPort, now time.Time) {
	request, err := stun.Build(stun.TransactionID, stun.BindingRequest)
	if err != nil {
		return
	}
	l.begin(request, transaction{server: server, sent: now})
	_ = l.Bind.send(server, request.Raw)
}

// reflected takes a server's answer.
func (l *Link) reflected(message *stun.Message, server netip.AddrPort, now time.Time) []func() {
	g := &l.gathering
	mapped, err := wire.MappedIn(message)
	if err != nil {
		return nil
	}
	g.seen[server] = mapped
	if !g.open || len(g.seen) == len(l.config.Servers) {
		g.open = false
		return l.gathered()
	}
	return nil
}

// gathered returns what is to be told of a round that is over: nothing if nothing changed.
func (l *Link) gathered() []func() {
	g := &l.gathering
	found, mapping := l.candidates(), l.mapping()
	if g.everTold && slices.Equal(found, g.told) && mapping == g.mapping {
		return nil
	}
	if g.everTold {
		l.searchAgain(time.Now())
	}
	g.told, g.mapping, g.everTold = found, mapping, true
	return []func(){func() { l.listener.Candidates(found, mapping) }}
}

func (l *Link) candidates() []Candidate {
	if l.config.RelayOnly {
		return nil
	}
	var found []Candidate
	for _, address := range l.gathering.hosts {
		if !l.config.datagrams() {
			break
		}
		kind := Host
		if address.Is6() {
			kind = IPv6
		}
		found = append(found, Candidate{kind, netip.AddrPortFrom(address, l.Port())})
	}
	for _, server := range l.config.Servers {
		mapped, seen := l.gathering.seen[server]
		one := Candidate{Reflexive, mapped}
		known := slices.ContainsFunc(found, func(c Candidate) bool { return c.Address == mapped })
		if seen && !known {
			found = append(found, one)
		}
	}
	if l.acceptor != nil {
		for _, address := range l.gathering.hosts {
			found = append(found, Candidate{TCP, netip.AddrPortFrom(address, l.acceptor.port)})
		}
	}
	return found[:min(len(found), MaxCandidates)]
}

// mapping compares what two servers saw: of one host, as RFC 5780, 4.3 does.
func (l *Link) mapping() string {
	var seen []netip.AddrPort
	for _, server := range l.config.Servers {
		if mapped, answered := l.gathering.seen[server]; answered && mapped.Addr().Is4() {
			seen = append(seen, mapped)
		}
	}
	if len(seen) == 0 {
		return MappingUnknown
	}
	if slices.Contains(l.gathering.hosts, seen[0].Addr()) && seen[0].Port() == l.Port() {
		return MappingNone
	}
	if len(seen) == 1 {
		return MappingUnknown
	}
	for _, other := range seen[1:] {
		if other != seen[0] {
			return MappingDependent
		}
	}
	return MappingIndependent
}

// hostAddresses returns the addresses of this machine at which others may reach it.
func (l *Link) hostAddresses() []netip.Addr {
	interfaces, err := net.Interfaces()
	if err != nil {
		return nil
	}
	var found, local []netip.Addr
	for _, one := range interfaces {
		if one.Flags&net.FlagUp == 0 || slices.Contains(l.config.Excluded, one.Name) {
			continue
		}
		addresses, err := one.Addrs()
		if err != nil {
			continue
		}
		for _, each := range addresses {
			network, good := each.(*net.IPNet)
			if !good {
				continue
			}
			address, _ := netip.AddrFromSlice(network.IP)
			address = address.Unmap()
			switch {
			case address.IsLoopback() && address.Is4():
				local = append(local, address)
			case address.IsGlobalUnicast():
				found = append(found, address)
			}
		}
	}
	if l.config.Loopback || len(found) == 0 {
		found = append(found, local...)
	}
	slices.SortFunc(found, netip.Addr.Compare)
	return found[:min(len(found), maxHostAddresses)]
}
