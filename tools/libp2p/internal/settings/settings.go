// Package settings reads what a node is to do: its own place, and its peers.
package settings

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"slices"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"
)

const largest = 4 << 20

// Peer is another node. The addresses are where it can be dialled: none if only relays reach it.
// With Dials this node makes the connections, else it waits for those of the peer. Punches says whether
// a connection by a relay can become direct.
type Peer struct {
	Name      string
	ID        peer.ID
	Address   netip.Addr
	Addresses []multiaddr.Multiaddr
	Relays    bool
	Dials     bool
	Punches   bool
}

// Settings are those of one node. Address is its own one on the overlay, Ports those forwarded to.
// Hidden says that no other node can dial it, so that it needs relays; Relays that it is one. Discovery
// says how it finds peers whose addresses it is not told: List not at all, MDNS on its own network, DHT by
// asking members, the relays first.
type Settings struct {
	Address   netip.Addr
	Ports     []uint16
	Listen    []multiaddr.Multiaddr
	Announce  []multiaddr.Multiaddr
	Security  string
	Discovery string
	Hidden    bool
	Relays    bool
	Peers     []Peer
}

// The ways of discovery.
const (
	List = "list"
	MDNS = "mdns"
	DHT  = "dht"
)

// Other returns the peer of that ID.
func (s *Settings) Other(id peer.ID) (Peer, bool) {
	i := slices.IndexFunc(s.Peers, func(p Peer) bool { return p.ID == id })
	if i < 0 {
		return Peer{}, false
	}
	return s.Peers[i], true
}

type file struct {
	Address   string     `json:"address"`
	Ports     []uint16   `json:"ports"`
	Listen    []string   `json:"listen"`
	Announce  []string   `json:"announce"`
	Security  string     `json:"security"`
	Discovery string     `json:"discovery"`
	Hidden    bool       `json:"hidden"`
	Relays    bool       `json:"relays"`
	Peers     []filePeer `json:"peers"`
}

type filePeer struct {
	Name      string   `json:"name"`
	ID        string   `json:"id"`
	Address   string   `json:"address"`
	Addresses []string `json:"addresses"`
	Relays    bool     `json:"relays"`
	Dials     bool     `json:"dials"`
	Punches   bool     `json:"punches"`
}

// Read returns the settings in a file.
func Read(path string) (*Settings, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	settings, err := parse(content)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return settings, nil
}

func parse(content []byte) (*Settings, error) {
	if len(content) > largest {
		return nil, fmt.Errorf("has more than %d bytes", largest)
	}
	var said file
	decoder := json.NewDecoder(bytes.NewReader(content))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&said); err != nil {
		return nil, err
	}
	own, err := loopback(said.Address)
	if err != nil {
		return nil, err
	}
	if said.Security != "tls" && said.Security != "noise" {
		return nil, fmt.Errorf("security is %q, not tls or noise", said.Security)
	}
	if !slices.Contains([]string{List, MDNS, DHT}, said.Discovery) {
		return nil, fmt.Errorf("discovery is %q, not %s, %s or %s", said.Discovery, List, MDNS, DHT)
	}
	found := Settings{
		Address: own, Ports: said.Ports, Security: said.Security, Discovery: said.Discovery,
		Hidden: said.Hidden, Relays: said.Relays,
	}
	if found.Listen, err = addresses(said.Listen); err != nil {
		return nil, err
	}
	if found.Announce, err = addresses(said.Announce); err != nil {
		return nil, err
	}
	for _, each := range said.Peers {
		known, err := each.parse()
		if err != nil {
			return nil, fmt.Errorf("peer %q: %w", each.Name, err)
		}
		found.Peers = append(found.Peers, known)
	}
	return &found, nil
}

func (p filePeer) parse() (Peer, error) {
	id, err := peer.Decode(p.ID)
	if err != nil {
		return Peer{}, err
	}
	at, err := loopback(p.Address)
	if err != nil {
		return Peer{}, err
	}
	found, err := addresses(p.Addresses)
	return Peer{p.Name, id, at, found, p.Relays, p.Dials, p.Punches}, err
}

// loopback reads an overlay address: no other host may reach what listens there.
func loopback(text string) (netip.Addr, error) {
	found, err := netip.ParseAddr(text)
	if err == nil && !found.IsLoopback() {
		err = fmt.Errorf("address %s is no loopback address", found)
	}
	return found, err
}

func addresses(texts []string) ([]multiaddr.Multiaddr, error) {
	found := make([]multiaddr.Multiaddr, 0, len(texts))
	for _, text := range texts {
		each, err := multiaddr.NewMultiaddr(text)
		if err != nil {
			return nil, err
		}
		found = append(found, each)
	}
	return found, nil
}
