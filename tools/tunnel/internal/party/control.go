package party

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/netip"

	"e3/tools/tunnel/internal/lines"
	"e3/tools/tunnel/internal/link"
	"e3/tools/tunnel/internal/wire"
)

// Version is that of this control and of what parties say to each other; both sides of a tunnel
// must have the same.
const Version = 1

const (
	maxPID     = 1023 // as many channels of a relay are there
	maxServers = 8
	minMTU     = 576
	maxMTU     = 9000
	usualMTU   = 1400 // 1400 + 80 of WireGuard over IPv6 + 4 of a relay < 1492 of PPPoE
	keyBytes   = 32
)

// The modes of a tunnel.
const (
	modeUserspace = "userspace"
	modeTUN       = "tun"
	modeNamespace = "namespace"
	modeTLS       = "tls"
)

// envelope is what every command has.
type envelope struct {
	Do string `json:"do"`
	ID int64  `json:"id"`
}

type openCommand struct {
	envelope
	PID        int              `json:"pid"`
	Mode       string           `json:"mode"`
	Address    netip.Prefix     `json:"address"`
	MTU        int              `json:"mtu"`
	Interface  string           `json:"interface"`
	Namespace  int              `json:"namespace"`
	Port       uint16           `json:"port"`
	TCPPort    uint16           `json:"tcp_port"`
	Servers    []netip.AddrPort `json:"stun"`
	Loopback   bool             `json:"loopback"`
	RelayOnly  bool             `json:"relay_only"`
	WithoutTCP bool             `json:"without_tcp"`
}

type candidate struct {
	Kind    string         `json:"kind"`
	Address netip.AddrPort `json:"address"`
}

type relayGrant struct {
	UDP   *netip.AddrPort `json:"udp"`
	TCP   *netip.AddrPort `json:"tcp"`
	Token string          `json:"token"`
}

type peerCommand struct {
	envelope
	PID         int         `json:"pid"`
	Address     netip.Addr  `json:"address"`
	PublicKey   string      `json:"public_key"`
	PSK         string      `json:"psk"`
	Certificate string      `json:"certificate"`
	Candidates  []candidate `json:"candidates"`
	Relay       *relayGrant `json:"relay"`
}

type removeCommand struct {
	envelope
	PID int `json:"pid"`
}

type gatherCommand struct {
	envelope
	// Servers are those of STUN from now on; without any, those from before.
	Servers []netip.AddrPort `json:"stun"`
}

type dialCommand struct {
	envelope
	PID   int            `json:"pid"`
	Port  uint16         `json:"port"`
	Local netip.AddrPort `json:"local"`
}

type serveCommand struct {
	envelope
	Port  uint16         `json:"port"`
	Local netip.AddrPort `json:"local"`
	// Sources are where connections of each peer come from, so that it is known who calls; peers
	// that are not listed are refused. Without any, all come from the usual loopback address.
	Sources []source `json:"sources"`
}

type source struct {
	PID     int        `json:"pid"`
	Address netip.Addr `json:"address"`
}

type answer struct {
	Event     string `json:"event"`
	ID        int64  `json:"id"`
	PublicKey string `json:"public_key,omitempty"`
	// Certificate is the SHA-256 of this party's certificate of TLS.
	Certificate string `json:"certificate,omitempty"`
	Port        uint16 `json:"port,omitempty"`
	Namespace   int    `json:"namespace,omitempty"`
	Local       string `json:"local,omitempty"`
	Message     string `json:"message,omitempty"`
	Version     int    `json:"version,omitempty"`
}

type candidatesEvent struct {
	Event      string      `json:"event"`
	Candidates []candidate `json:"candidates"`
	Mapping    string      `json:"mapping"`
}

type pathEvent struct {
	Event string     `json:"event"`
	PID   int        `json:"pid"`
	Path  *pathState `json:"path"`
}

type upEvent struct {
	Event string `json:"event"`
	PID   int    `json:"pid"`
}

type pathState struct {
	Kind          string  `json:"kind"`
	Address       string  `json:"address"`
	RTTms         float64 `json:"rtt_ms"`
	SentBytes     uint64  `json:"sent_bytes"`
	ReceivedBytes uint64  `json:"received_bytes"`
}

type peerReport struct {
	PID int `json:"pid"`
	// HandshakeAge is that of WireGuard's last handshake in seconds, null without one.
	HandshakeAge *float64 `json:"handshake_age_seconds"`
	// Paths are those that live, the one in use first.
	Paths []pathState `json:"paths"`
}

type reportAnswer struct {
	Event string       `json:"event"`
	ID    int64        `json:"id"`
	Mode  string       `json:"mode"`
	Peers []peerReport `json:"peers"`
}

// parse reads a command into a value of its own type.
func parse[T any](line []byte) (T, error) {
	var command T
	err := lines.Decode(line, &command)
	return command, err
}

func nameOf(line []byte) (envelope, error) {
	var it envelope
	err := json.Unmarshal(line, &it)
	return it, err
}

func (c openCommand) check() error {
	switch {
	case c.PID < 0 || c.PID > maxPID:
		return fmt.Errorf("pid %d is not from 0 to %d", c.PID, maxPID)
	case c.Mode != modeUserspace && c.Mode != modeTUN && c.Mode != modeNamespace && c.Mode != modeTLS:
		return fmt.Errorf("mode %.40q is none of userspace, tun, namespace, tls", c.Mode)
	case !c.Address.Addr().Is4():
		return fmt.Errorf("address %s is not of IPv4", c.Address)
	case c.MTU != 0 && (c.MTU < minMTU || c.MTU > maxMTU):
		return fmt.Errorf("mtu %d is not from %d to %d", c.MTU, minMTU, maxMTU)
	case c.Mode == modeTLS && c.WithoutTCP:
		return fmt.Errorf("mode tls needs TCP, and without_tcp is true")
	case len(c.Servers) > maxServers:
		return fmt.Errorf("stun has %d servers; %d are possible", len(c.Servers), maxServers)
	case len(c.Interface) > 15:
		return fmt.Errorf("interface %.40q is longer than 15 bytes", c.Interface)
	}
	return nil
}

// peerConfig checks a command and returns what it says; own is this party's public key.
func (c peerCommand) peerConfig(ownPID int, own []byte) (link.PeerConfig, []byte, []byte, error) {
	none := link.PeerConfig{}
	if c.PID < 0 || c.PID > maxPID || c.PID == ownPID {
		return none, nil, nil, fmt.Errorf("pid %d is not another party's from 0 to %d", c.PID, maxPID)
	}
	if !c.Address.Is4() {
		return none, nil, nil, fmt.Errorf("address %s is not of IPv4", c.Address)
	}
	public, err := base64.StdEncoding.DecodeString(c.PublicKey)
	if err != nil || len(public) != keyBytes {
		return none, nil, nil, fmt.Errorf("public_key is not 32 bytes in base64")
	}
	psk, err := base64.StdEncoding.DecodeString(c.PSK)
	if err != nil || len(psk) != keyBytes {
		return none, nil, nil, fmt.Errorf("psk is not 32 bytes in base64")
	}
	config := link.PeerConfig{ID: c.PID, Name: hex.EncodeToString(public), Controlling: ownPID < c.PID}
	if config.Pair, err = wire.NewPair(psk, own, public); err != nil {
		return none, nil, nil, err
	}
	if c.Certificate != "" {
		sum, err := hex.DecodeString(c.Certificate)
		if err != nil || len(sum) != len(config.Certificate) {
			return none, nil, nil, fmt.Errorf("certificate is not a SHA-256 in hexadecimal")
		}
		copy(config.Certificate[:], sum)
	}
	if config.Candidates, err = candidatesOf(c.Candidates); err != nil {
		return none, nil, nil, err
	}
	if config.Relay, err = c.Relay.grant(); err != nil {
		return none, nil, nil, err
	}
	return config, public, psk, nil
}

func candidatesOf(announced []candidate) ([]link.Candidate, error) {
	if len(announced) > link.MaxCandidates {
		return nil, fmt.Errorf("candidates are %d; %d are possible", len(announced), link.MaxCandidates)
	}
	var found []link.Candidate
	for _, each := range announced {
		kind, known := link.KindNamed(each.Kind)
		if !known || kind == link.Relay || kind == link.TCPRelay {
			return nil, fmt.Errorf("a candidate's kind %.40q is none of host, ipv6, reflexive, tcp", each.Kind)
		}
		address := each.Address.Addr()
		if !address.IsValid() || each.Address.Port() == 0 || address.IsMulticast() || address.IsUnspecified() {
			return nil, fmt.Errorf("a candidate's address %s is none of a host", each.Address)
		}
		unmapped := netip.AddrPortFrom(address.Unmap().WithZone(""), each.Address.Port())
		found = append(found, link.Candidate{Kind: kind, Address: unmapped})
	}
	return found, nil
}

func (g *relayGrant) grant() (*link.Grant, error) {
	if g == nil {
		return nil, nil
	}
	token, good := wire.ParseToken(g.Token)
	if !good {
		return nil, fmt.Errorf("a relay's token is not 32 hexadecimal digits")
	}
	grant := link.Grant{Token: token}
	if g.UDP != nil {
		grant.UDP = *g.UDP
	}
	if g.TCP != nil {
		grant.TCP = *g.TCP
	}
	return &grant, nil
}
