// Package party is one party's end of the tunnels of a session, driven by lines of JSON.
package party

import (
	"context"
	"crypto/ecdh"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/netip"
	"slices"
	"time"

	"golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/tun"

	"e3/tools/tunnel/forward"
	devices "e3/tools/tunnel/internal/device"
	"e3/tools/tunnel/internal/lines"
	"e3/tools/tunnel/internal/link"
)

const usualInterface = "e3s0"

// carrier is what carries data with peers: WireGuard, or streams over TLS.
type carrier interface {
	// set adds a peer; one that exists with the same keys stays as it is.
	set(one tunnel) error
	remove(pid int) error
	// reached tells that there is a path to a peer, of this round trip.
	reached(pid int, rtt time.Duration)
	// ages are how long ago the last handshake was, of the peers that had one.
	ages() (map[int]time.Duration, error)
	close()
}

// ports are those of the tunnel, where this program itself serves and dials them.
type ports interface {
	dial(ctx context.Context, pid int, to netip.AddrPort) (forward.Connection, error)
	listen(port uint16) (net.Listener, error)
}

// party is the state of one run.
type party struct {
	out        *lines.Writer
	pid        int
	mode       string
	key        *ecdh.PrivateKey
	link       *link.Link
	carrier    carrier
	ports      ports // in the modes userspace and tls, else nil
	namespace  *devices.Namespace
	addresses  map[int]netip.Addr
	forwarders []*forward.Forwarder
}

// Run obeys the commands that come in until they end.
func Run(in io.Reader, out io.Writer) error {
	p := &party{out: lines.NewWriter(out)}
	defer p.close()
	return lines.Each(in, p.obey)
}

// obey carries out a command and answers it; an error means that nobody hears any more.
func (p *party) obey(line []byte) error {
	command, err := nameOf(line)
	var said any
	if err == nil {
		said, err = p.carryOut(command, line)
	}
	if err != nil {
		said = answer{Event: "error", ID: command.ID, Message: lines.Shown(err)}
	}
	return p.out.Write(said)
}

func (p *party) carryOut(command envelope, line []byte) (any, error) {
	if command.Do != "open" && p.link == nil {
		return nil, fmt.Errorf("do %.40q comes before open", command.Do)
	}
	switch command.Do {
	case "open":
		return with(line, p.open)
	case "peer":
		return with(line, p.setPeer)
	case "remove":
		return with(line, p.removePeer)
	case "dial":
		return with(line, p.dial)
	case "serve":
		return with(line, p.serve)
	case "gather":
		return with(line, p.gather)
	case "report":
		return p.report(command)
	}
	return nil, fmt.Errorf("do %.40q is none of open, peer, remove, dial, serve, gather, report", command.Do)
}

func with[T any](line []byte, carryOut func(T) (any, error)) (any, error) {
	command, err := parse[T](line)
	if err != nil {
		return nil, err
	}
	return carryOut(command)
}

func (p *party) open(c openCommand) (any, error) {
	if p.link != nil {
		return nil, errors.New("it is open already")
	}
	if err := c.check(); err != nil {
		return nil, err
	}
	key, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	certificate, sum, err := newCertificate()
	if err != nil {
		return nil, err
	}
	if c.MTU == 0 {
		c.MTU = usualMTU
	}
	if c.Interface == "" {
		c.Interface = usualInterface
	}
	p.pid, p.mode, p.key, p.addresses = c.PID, c.Mode, key, map[int]netip.Addr{}
	config := link.Config{
		Servers: c.Servers, Excluded: []string{c.Interface}, Loopback: c.Loopback,
		RelayOnly: c.RelayOnly, TCPPort: c.TCPPort, WithoutTCP: c.WithoutTCP, Certificate: certificate,
	}
	opened, err := p.start(c, config)
	if err != nil {
		return nil, err
	}
	said := answer{
		Event: "opened", ID: c.ID, Version: Version, Port: opened.Port(),
		PublicKey:   base64.StdEncoding.EncodeToString(key.PublicKey().Bytes()),
		Certificate: hex.EncodeToString(sum[:]),
	}
	if p.namespace != nil {
		said.Namespace = p.namespace.Process
	}
	return said, nil
}

// start opens the socket and what carries data over it.
func (p *party) start(c openCommand, config link.Config) (*link.Link, error) {
	up := func(pid int) { _ = p.out.Write(upEvent{"up", pid}) }
	if c.Mode == modeTLS {
		overTLS := newOverTLS(up)
		config.Carry = overTLS.carry
		opened := link.New(config, p)
		overTLS.measures(opened)
		if err := opened.Start(); err != nil {
			return nil, err
		}
		p.link, p.carrier, p.ports = opened, overTLS, overTLS
		return opened, nil
	}
	network, err := p.newDevice(c)
	if err != nil {
		return nil, err
	}
	opened := link.New(config, p)
	wireguard, err := newWireGuard(network, opened, p.key.Bytes(), c.Port)
	if err != nil {
		return nil, err
	}
	p.link, p.carrier = opened, newPeers(wireguard, up)
	return opened, nil
}

// newDevice returns the network device of the mode that was asked for.
func (p *party) newDevice(c openCommand) (tun.Device, error) {
	switch c.Mode {
	case modeTUN:
		return devices.NewTUN(c.Interface, c.Address, c.MTU)
	case modeNamespace:
		network, namespace, err := devices.NewNamespaceTUN(c.Namespace, c.Interface, c.Address, c.MTU)
		p.namespace = namespace
		return network, err
	}
	stack, err := devices.NewStack(c.Address.Addr(), c.MTU)
	if err != nil {
		return nil, err
	}
	p.ports = stackPorts{stack}
	return stack, nil
}

// newWireGuard brings WireGuard up on the socket of the link.
func newWireGuard(
	network tun.Device, opened *link.Link, private []byte, port uint16,
) (*device.Device, error) {
	log := &device.Logger{Verbosef: device.DiscardLogf, Errorf: device.DiscardLogf}
	wireguard := device.NewDevice(network, opened.Bind, log)
	wireguard.DisableSomeRoamingForBrokenMobileSemantics() // the link alone chooses paths
	err := wireguard.IpcSet(fmt.Sprintf("private_key=%x\nlisten_port=%d\n", private, port))
	if err == nil {
		err = wireguard.Up()
	}
	if err == nil {
		err = opened.Start()
	}
	if err != nil {
		wireguard.Close()
		return nil, err
	}
	return wireguard, nil
}

func (p *party) close() {
	for _, forwarder := range p.forwarders {
		forwarder.Close()
	}
	if p.link != nil {
		p.link.Close()
		p.carrier.close()
	}
	if p.namespace != nil {
		p.namespace.Close()
	}
}

func (p *party) setPeer(c peerCommand) (any, error) {
	config, public, psk, err := c.peerConfig(p.pid, p.key.PublicKey().Bytes())
	if err != nil {
		return nil, err
	}
	p.addresses[c.PID] = c.Address
	one := tunnel{pid: c.PID, public: public, psk: psk, address: c.Address, initiates: config.Controlling}
	p.link.SetPeer(config) // first: it is an endpoint of WireGuard
	if err := p.carrier.set(one); err != nil {
		return nil, err
	}
	if path := p.link.Current(c.PID); path != nil {
		p.carrier.reached(c.PID, path.RTT) // news of it may have come before the carrier knew the peer
	}
	return answer{Event: "done", ID: c.ID}, nil
}

func (p *party) removePeer(c removeCommand) (any, error) {
	p.link.RemovePeer(c.PID)
	delete(p.addresses, c.PID)
	return answer{Event: "done", ID: c.ID}, p.carrier.remove(c.PID)
}

func (p *party) gather(c gatherCommand) (any, error) {
	if len(c.Servers) > maxServers {
		return nil, fmt.Errorf("stun has %d servers; %d are possible", len(c.Servers), maxServers)
	}
	if len(c.Servers) > 0 {
		p.link.SetServers(c.Servers)
	}
	p.link.Gather()
	return answer{Event: "done", ID: c.ID}, nil
}

// Candidates tells at which addresses this party may be reached.
func (p *party) Candidates(found []link.Candidate, mapping string) {
	said := candidatesEvent{Event: "candidates", Candidates: []candidate{}, Mapping: mapping}
	for _, each := range found {
		said.Candidates = append(said.Candidates, candidate{each.Kind.String(), each.Address})
	}
	_ = p.out.Write(said)
}

// Path tells of a peer's new path, and begins the handshake once there is the first one.
func (p *party) Path(peer *link.Peer, path *link.State) {
	said := pathEvent{Event: "path", PID: peer.ID}
	if path != nil {
		state := shownPath(*path)
		said.Path = &state
		p.carrier.reached(peer.ID, path.RTT)
	}
	_ = p.out.Write(said)
}

func shownPath(path link.State) pathState {
	return pathState{
		Kind: path.Kind.String(), Address: path.Address,
		RTTms:     float64(path.RTT.Microseconds()) / 1000,
		SentBytes: path.SentBytes, ReceivedBytes: path.HeardBytes,
	}
}

func (p *party) report(command envelope) (any, error) {
	ages, err := p.carrier.ages()
	if err != nil {
		return nil, err
	}
	said := reportAnswer{Event: "report", ID: command.ID, Mode: p.mode, Peers: []peerReport{}}
	for _, pid := range slices.Sorted(maps.Keys(p.addresses)) {
		one := peerReport{PID: pid, Paths: []pathState{}}
		if age, known := ages[pid]; known {
			seconds := age.Seconds()
			one.HandshakeAge = &seconds
		}
		for _, path := range p.link.Paths(pid) {
			one.Paths = append(one.Paths, shownPath(path))
		}
		said.Peers = append(said.Peers, one)
	}
	return said, nil
}

func (p *party) keep(forwarder *forward.Forwarder) string {
	p.forwarders = append(p.forwarders, forwarder)
	return forwarder.Address().String()
}

func listenLocal(at netip.AddrPort) (net.Listener, error) {
	if !at.Addr().IsLoopback() {
		return nil, fmt.Errorf("local %s is not a loopback address", at)
	}
	return net.Listen("tcp", at.String())
}
