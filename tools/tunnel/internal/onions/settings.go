package onions

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"regexp"
)

const largest = 4 << 20

// Settings are those of e3/overlays/tor/overlay.py, which the onion proxy reads, too. Peers are by name;
// Address is this host's own one on the overlay.
type Settings struct {
	Address  netip.Addr      `json:"address"`
	Ports    []uint16        `json:"ports"`
	Peers    map[string]Peer `json:"peers"`
	Revision string          `json:"revision"`
}

// Peer is another host: its address here, and the service that it keeps for this host alone.
type Peer struct {
	Address netip.Addr `json:"address"`
	Onion   string     `json:"onion"`
}

var (
	names  = regexp.MustCompile(`^[a-z0-9-]{1,63}$`)
	onions = regexp.MustCompile(`^[a-z2-7]{56}$`)
)

func read(path string) (*Settings, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	found, err := parse(content)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return found, nil
}

func parse(content []byte) (*Settings, error) {
	if len(content) > largest {
		return nil, fmt.Errorf("has more than %d bytes", largest)
	}
	var found Settings
	if err := json.Unmarshal(content, &found); err != nil {
		return nil, err
	}
	if !found.Address.IsLoopback() {
		return nil, fmt.Errorf("address %s is no loopback address", found.Address)
	}
	for name, peer := range found.Peers {
		switch {
		case !names.MatchString(name):
			return nil, fmt.Errorf("%q is no host's name", name)
		case !peer.Address.IsLoopback():
			return nil, fmt.Errorf("address %s of %s is no loopback address", peer.Address, name)
		case !onions.MatchString(peer.Onion):
			return nil, fmt.Errorf("%q of %s is no onion service", peer.Onion, name)
		}
	}
	return &found, nil
}
