package device

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"golang.zx2c4.com/wireguard/conn"
	"golang.zx2c4.com/wireguard/tun"
	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/link/channel"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/stack/gro"
	"gvisor.dev/gvisor/pkg/tcpip/transport/icmp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
)

const (
	card          = tcpip.NICID(1)
	queuedPackets = 4096
	receiveBytes  = 8 << 20 // of a connection, at most
	sendBytes     = 4 << 20
	usualBytes    = 1 << 20
	leastBytes    = 64 << 10
	maxRetransmit = time.Second // a healed path is used within that time
	maxRetries    = 1 << 20     // a connection lasts as long as its session
	keepAliveIdle = time.Minute
)

// Stack is WireGuard's network device without the kernel: gVisor's TCP and IP in this process.
//
// It differs from wireguard-go's own netstack in what makes it fast: packets pass in batches, those
// of one connection are put together as they come in (GRO), a sender hands over many segments at
// a time (GSO), and buffers grow as far as a path of 8 MB in flight needs.
type Stack struct {
	stack    *stack.Stack
	endpoint *channel.Endpoint
	gro      gro.GRO
	inbound  sync.Mutex
	address  netip.Addr
	mtu      int
	events   chan tun.Event
	waiting  context.Context
	stop     context.CancelFunc
}

var _ tun.Device = (*Stack)(nil)

// NewStack returns a device with that address.
func NewStack(address netip.Addr, mtu int) (*Stack, error) {
	waiting, stop := context.WithCancel(context.Background())
	s := &Stack{
		stack: stack.New(stack.Options{
			NetworkProtocols:   []stack.NetworkProtocolFactory{ipv4.NewProtocol},
			TransportProtocols: []stack.TransportProtocolFactory{tcp.NewProtocol, icmp.NewProtocol4},
			HandleLocal:        true,
		}),
		endpoint: channel.New(queuedPackets, uint32(mtu), ""),
		address:  address,
		mtu:      mtu,
		events:   make(chan tun.Event, 1),
		waiting:  waiting,
		stop:     stop,
	}
	s.endpoint.SupportedGSOKind = stack.GVisorGSOSupported
	// WireGuard has authenticated what comes in
	s.endpoint.LinkEPCapabilities = stack.CapabilityRXChecksumOffload
	if err := s.tune(); err != nil {
		return nil, err
	}
	if err := s.stack.CreateNIC(card, s.endpoint); err != nil {
		return nil, fmt.Errorf("the stack takes no device: %v", err)
	}
	protocol := tcpip.ProtocolAddress{
		Protocol:          ipv4.ProtocolNumber,
		AddressWithPrefix: tcpip.AddrFromSlice(address.AsSlice()).WithPrefix(),
	}
	if err := s.stack.AddProtocolAddress(card, protocol, stack.AddressProperties{}); err != nil {
		return nil, fmt.Errorf("the stack takes no address %s: %v", address, err)
	}
	s.stack.AddRoute(tcpip.Route{Destination: header.IPv4EmptySubnet, NIC: card})
	s.gro.Init(true)
	s.gro.Dispatcher = dispatcher{s.endpoint}
	s.events <- tun.EventUp
	return s, nil
}

func (s *Stack) tune() error {
	sack := tcpip.TCPSACKEnabled(true)
	control := tcpip.CongestionControlOption("cubic")
	receive := tcpip.TCPReceiveBufferSizeRangeOption{Min: leastBytes, Default: usualBytes, Max: receiveBytes}
	send := tcpip.TCPSendBufferSizeRangeOption{Min: leastBytes, Default: usualBytes, Max: sendBytes}
	moderate := tcpip.TCPModerateReceiveBufferOption(true)
	slowest := tcpip.TCPMaxRTOOption(maxRetransmit)
	retries := tcpip.TCPMaxRetriesOption(maxRetries)
	options := []tcpip.SettableTransportProtocolOption{
		&sack, &control, &receive, &send, &moderate, &slowest, &retries,
	}
	for _, option := range options {
		if err := s.stack.SetTransportProtocolOption(tcp.ProtocolNumber, option); err != nil {
			return fmt.Errorf("the stack refuses %T: %v", option, err)
		}
	}
	return nil
}

// dispatcher passes what GRO has put together to the stack.
type dispatcher struct{ endpoint *channel.Endpoint }

func (d dispatcher) DeliverNetworkPacket(protocol tcpip.NetworkProtocolNumber, packet *stack.PacketBuffer) {
	d.endpoint.InjectInbound(protocol, packet)
}

func (dispatcher) DeliverLinkPacket(tcpip.NetworkProtocolNumber, *stack.PacketBuffer) {}

// Write passes packets from WireGuard to the stack.
func (s *Stack) Write(packets [][]byte, offset int) (int, error) {
	s.inbound.Lock()
	defer s.inbound.Unlock()
	for _, each := range packets {
		packet := each[offset:]
		if len(packet) < header.IPv4MinimumSize || header.IPVersion(packet) != header.IPv4Version {
			continue
		}
		held := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithData(packet)})
		held.NetworkProtocolNumber = ipv4.ProtocolNumber
		held.RXChecksumValidated = true
		s.gro.Enqueue(held)
		held.DecRef()
	}
	s.gro.Flush()
	return len(packets), nil
}

// Read passes packets from the stack to WireGuard: it waits for one and takes all that are there.
func (s *Stack) Read(packets [][]byte, sizes []int, offset int) (int, error) {
	packet := s.endpoint.ReadContext(s.waiting)
	if packet == nil {
		return 0, os.ErrClosed
	}
	count := 0
	for packet != nil {
		size := offset
		for _, part := range packet.AsSlices() {
			size += copy(packets[count][size:], part)
		}
		sizes[count] = size - offset
		packet.DecRef()
		count++
		if count == len(packets) {
			break
		}
		packet = s.endpoint.Read()
	}
	return count, nil
}

// Close ends the device and all connections.
func (s *Stack) Close() error {
	s.stop()
	s.stack.RemoveNIC(card)
	s.stack.Close()
	s.endpoint.Close()
	close(s.events)
	return nil
}

// Name is only for messages.
func (s *Stack) Name() (string, error) { return "userspace", nil }

// File returns nil: no file stands behind it.
func (s *Stack) File() *os.File { return nil }

// MTU is the size of the largest packet.
func (s *Stack) MTU() (int, error) { return s.mtu, nil }

// Events has one, that the device is up.
func (s *Stack) Events() <-chan tun.Event { return s.events }

// BatchSize is that of WireGuard's socket.
func (s *Stack) BatchSize() int { return conn.IdealBatchSize }

// Dial connects with a port of a peer.
func (s *Stack) Dial(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
	connection, err := gonet.DialContextTCP(ctx, s.stack, full(to), ipv4.ProtocolNumber)
	if err != nil {
		return nil, err
	}
	return connection, nil
}

// Listen accepts connections of peers at a port.
func (s *Stack) Listen(port uint16) (net.Listener, error) {
	return gonet.ListenTCP(s.stack, full(netip.AddrPortFrom(s.address, port)), ipv4.ProtocolNumber)
}

func full(address netip.AddrPort) tcpip.FullAddress {
	return tcpip.FullAddress{
		NIC: card, Addr: tcpip.AddrFromSlice(address.Addr().AsSlice()), Port: address.Port(),
	}
}
