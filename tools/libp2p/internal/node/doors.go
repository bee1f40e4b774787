package node

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"

	"e3/tools/libp2p/internal/settings"
	"e3/tools/tunnel/forward"
	"e3/tools/tunnel/resume"
)

const (
	// The one who opens a stream sends the port, two bytes, the most significant first; then both are
	// an end of a stream that outlives its connections (package resume).
	protocolID protocol.ID = "/e3/forward/1.0.0"

	helloTimeout  = 10 * time.Second
	openTimeout   = 3 * time.Second
	openPause     = 20 * time.Millisecond
	listenAgain   = time.Second
	listenTimeout = 10 * time.Second // for a program that is called before it listens, at least
	mostAtOnce    = 256              // connections of one peer
	mostStreams   = 1 << 12
	pingEvery     = time.Second // at least
	answerOfEnd   = 15 * time.Second
	breakTimeout  = time.Minute
)

var errNobodyListens = errors.New("nobody listens")

// streams go on after a break of a minute, and notice one within three seconds; among many members later,
// as each stream of all asks so often, and all are made anew by one machine.
func (n *Node) streams() resume.Config {
	return resume.Config{
		Patience:  breakTimeout + 2*n.crowd(),
		PingEvery: max(pingEvery, n.crowd()/2),
		Answer:    n.patience(answerOfEnd),
	}
}

// doors listen at the addresses of peers and forward to them.
type doors struct {
	node     *Node
	mutex    sync.Mutex
	ends     map[door]net.Listener
	arriving map[door]*resume.Listener
	using    map[peer.ID]int
	turns    map[uint16]turn
}

// turn has a place for the one stream that waits until a program listens at a port of this host: the others
// wait for it. Of a hundred parties that start, thousands of streams would call those that have not.
type turn chan struct{}

type door struct {
	at netip.AddrPort
	to peer.ID
}

func newDoors(n *Node) *doors {
	return &doors{
		node: n, ends: map[door]net.Listener{}, arriving: map[door]*resume.Listener{},
		using: map[peer.ID]int{}, turns: map[uint16]turn{},
	}
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
			d.arriving[each].Close()
			delete(d.ends, each)
			delete(d.arriving, each)
		}
	}
	again := sync.OnceFunc(func() {
		time.AfterFunc(listenAgain, func() { d.open(d.node.settings.Load()) })
	})
	for each := range wanted {
		if d.ends[each] != nil {
			continue
		}
		listener, err := net.Listen("tcp", each.at.String())
		if err != nil {
			other, _ := asked.Other(each.to)
			complain("cannot listen for", other, err)
			again()
			continue
		}
		d.ends[each] = listener
		d.arriving[each] = d.listener(each)
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
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	stream, err := resume.Dial(ctx, d.node.streams(), func(ctx context.Context) (net.Conn, error) {
		return d.opened(ctx, each)
	})
	if err != nil {
		return
	}
	local := resume.Local{TCPConn: connection, Stream: stream}
	forward.Join(ctx, resume.Departing{Local: local}, stream)
	<-stream.Done()
	if err := stream.Err(); errors.Is(err, resume.ErrLost) || errors.Is(err, resume.ErrProtocol) {
		other, _ := d.node.settings.Load().Other(each.to)
		complain("a connection to", other, err)
	}
}

// opened returns a stream of libp2p to a port of a peer, once there is a connection with it.
func (d *doors) opened(ctx context.Context, each door) (net.Conn, error) {
	on := d.node.best(each.to)
	for ; on == nil; on = d.node.best(each.to) {
		if !wait(ctx, openPause) {
			return nil, errNoConnection
		}
	}
	ctx, cancel := context.WithTimeout(ctx, d.node.patience(openTimeout))
	defer cancel()
	opened, err := stream(ctx, on, protocolID)
	if err == nil {
		err = binary.Write(opened, binary.BigEndian, each.at.Port())
	}
	if err != nil {
		go d.node.closeIfDead(on) // whoever has dialled it then dials anew
		return nil, err
	}
	return carried{opened}, opened.SetDeadline(time.Time{})
}

// arrive lets a stream of a peer carry one to a port of this host.
func (n *Node) arrive(stream network.Stream) {
	var port uint16
	_ = stream.SetDeadline(time.Now().Add(n.patience(helloTimeout)))
	if binary.Read(stream, binary.BigEndian, &port) != nil {
		_ = stream.Reset()
		return
	}
	if listener := n.doors.arrivingAt(stream.Conn().RemotePeer(), port); listener != nil {
		_ = listener.Serve("", carried{stream})
	}
	_ = stream.Reset()
}

func (d *doors) arrivingAt(from peer.ID, port uint16) *resume.Listener {
	other, known := d.node.settings.Load().Other(from)
	if !known {
		return nil
	}
	d.mutex.Lock()
	defer d.mutex.Unlock()
	return d.arriving[door{netip.AddrPortFrom(other.Address, port), from}]
}

// listener joins the streams of a peer with a port of this host, from the address of that peer.
func (d *doors) listener(each door) *resume.Listener {
	return resume.NewListener(d.node.streams(), mostStreams, func(_ string, stream *resume.Stream) {
		if !d.enter(each.to) {
			stream.Reset()
			return
		}
		defer d.exit(each.to)
		own := netip.AddrPortFrom(d.node.settings.Load().Address, each.at.Port())
		connection, err := connect(stream, each.at.Addr(), own, d.turn(own.Port()), d.node.starting())
		if err != nil {
			stream.Reset()
			return
		}
		defer connection.Close()
		forward.Join(context.Background(), resume.Local{TCPConn: connection, Stream: stream}, stream)
	})
}

// connect dials a port of this host until somebody listens there: the program that the peer's has called
// may start later. It ends with the stream, and when the peer does not wait any more.
func connect(
	stream *resume.Stream, from netip.Addr, to netip.AddrPort, own turn, within time.Duration,
) (*net.TCPConn, error) {
	end := time.NewTimer(within)
	defer end.Stop()
	select {
	case own <- struct{}{}:
		defer func() { <-own }()
	case <-stream.Done():
		return nil, errNobodyListens
	case <-end.C:
		return nil, errNobodyListens
	}
	dialer := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0))}
	for {
		connection, err := dialer.Dial("tcp", to.String())
		if err == nil {
			return connection.(*net.TCPConn), nil
		}
		if !errors.Is(err, syscall.ECONNREFUSED) || stream.Ended() {
			return nil, err
		}
		select {
		case <-stream.Done():
			return nil, err
		case <-end.C:
			return nil, err
		case <-time.After(openPause):
		}
	}
}

func (d *doors) turn(port uint16) turn {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	if d.turns[port] == nil {
		d.turns[port] = make(turn, 1)
	}
	return d.turns[port]
}

// starting is how long a program may take until it listens: one machine starts those of all members of a lab.
func (n *Node) starting() time.Duration {
	return listenTimeout + time.Duration(len(n.settings.Load().Peers))*time.Second
}

// carried is a stream of libp2p as a connection; once closed, both sides forget it at once.
type carried struct{ network.Stream }

func (c carried) Close() error         { return c.Reset() }
func (c carried) LocalAddr() net.Addr  { return &net.TCPAddr{} }
func (c carried) RemoteAddr() net.Addr { return &net.TCPAddr{} }

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
