package node

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"

	"e3/tools/libp2p/internal/forward"
	"e3/tools/libp2p/internal/settings"
)

const (
	// The one who opens a stream sends the port, two bytes, the most significant first. The other
	// connects to it on its own host, and answers with a byte, 1 if that succeeded.
	protocolID protocol.ID = "/e3/forward/1.0.0"

	accepted, refused = 1, 0

	helloTimeout = 10 * time.Second
	openTimeout  = 20 * time.Second
	openPause    = 20 * time.Millisecond
	mostAtOnce   = 256 // connections of one peer
)

// doors listen at the addresses of peers and forward to them.
type doors struct {
	node  *Node
	mutex sync.Mutex
	ends  map[door]net.Listener
	using map[peer.ID]int
}

type door struct {
	at netip.AddrPort
	to peer.ID
}

func newDoors(n *Node) *doors {
	return &doors{node: n, ends: map[door]net.Listener{}, using: map[peer.ID]int{}}
}

// open listens for exactly these peers.
func (d *doors) open(asked *settings.Settings) {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	wanted := map[door]bool{}
	for _, other := range asked.Peers {
		for _, port := range asked.Ports {
			wanted[door{netip.AddrPortFrom(other.Address, port), other.ID}] = true
		}
	}
	for each, listener := range d.ends {
		if !wanted[each] {
			_ = listener.Close()
			delete(d.ends, each)
		}
	}
	for each := range wanted {
		if d.ends[each] != nil {
			continue
		}
		listener, err := net.Listen("tcp", each.at.String())
		if err != nil {
			other, _ := asked.Other(each.to)
			complain("cannot listen for", other, err)
			continue
		}
		d.ends[each] = listener
		go d.serve(each, listener)
	}
}

func (d *doors) serve(each door, listener net.Listener) {
	for {
		connection, err := listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // such as no descriptor left: others will end
			time.Sleep(openPause)
			continue
		}
		go d.leave(each, connection.(*net.TCPConn))
	}
}

// leave forwards a connection of this host to the peer.
func (d *doors) leave(each door, connection *net.TCPConn) {
	defer connection.Close()
	if !d.enter(each.to) {
		return
	}
	defer d.exit(each.to)
	stream, err := d.opened(each)
	if err != nil {
		_ = connection.SetLinger(0) // so that it is seen as refused
		return
	}
	forward.Join(connection, ended{stream})
}

// opened returns a stream at whose other end the port has accepted. It waits for a connection.
func (d *doors) opened(each door) (network.Stream, error) {
	ctx, cancel := context.WithTimeout(context.Background(), openTimeout)
	defer cancel()
	on := d.node.best(each.to)
	for ; on == nil; on = d.node.best(each.to) {
		if !wait(ctx, openPause) {
			return nil, errNoConnection
		}
	}
	opened, err := stream(ctx, on, protocolID)
	if err != nil {
		return nil, err
	}
	if err := ask(opened, each.at.Port()); err != nil {
		_ = opened.Reset()
		return nil, err
	}
	return opened, opened.SetDeadline(time.Time{})
}

func ask(stream network.Stream, port uint16) error {
	if err := binary.Write(stream, binary.BigEndian, port); err != nil {
		return err
	}
	answer := []byte{refused}
	if _, err := io.ReadFull(stream, answer); err != nil {
		return err
	}
	if answer[0] != accepted {
		return errors.New("nobody listens there")
	}
	return nil
}

// arrive forwards a stream of a peer to a port of this host, from the address of that peer.
func (n *Node) arrive(stream network.Stream) {
	defer stream.Reset() //nolint:errcheck // without effect once both ends are closed
	asked := n.settings.Load()
	other, known := asked.Other(stream.Conn().RemotePeer())
	if !known || !n.doors.enter(other.ID) {
		return
	}
	defer n.doors.exit(other.ID)
	if stream.SetDeadline(time.Now().Add(helloTimeout)) != nil {
		return
	}
	var port uint16
	if binary.Read(stream, binary.BigEndian, &port) != nil || !slices.Contains(asked.Ports, port) {
		return
	}
	connection, err := connect(other.Address, netip.AddrPortFrom(asked.Address, port))
	if err != nil {
		_, _ = stream.Write([]byte{refused})
		_ = stream.Close()
		return
	}
	defer connection.Close()
	if _, err := stream.Write([]byte{accepted}); err != nil || stream.SetDeadline(time.Time{}) != nil {
		return
	}
	forward.Join(connection, ended{stream})
}

func connect(from netip.Addr, to netip.AddrPort) (*net.TCPConn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), helloTimeout)
	defer cancel()
	dialer := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0))}
	connection, err := dialer.DialContext(ctx, "tcp", to.String())
	if err != nil {
		return nil, err
	}
	return connection.(*net.TCPConn), nil
}

// ended is a stream that, once closed, is forgotten by both sides at once.
type ended struct{ network.Stream }

func (e ended) Close() error { return e.Reset() }

func (d *doors) enter(id peer.ID) bool {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	if d.using[id] >= mostAtOnce {
		return false
	}
	d.using[id]++
	return true
}

func (d *doors) exit(id peer.ID) {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	if d.using[id]--; d.using[id] == 0 {
		delete(d.using, id)
	}
}

// idle says whether nothing is forwarded to or from a peer.
func (d *doors) idle(id peer.ID) bool {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	return d.using[id] == 0
}
