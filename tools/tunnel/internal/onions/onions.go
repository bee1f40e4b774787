// Package onions forwards connections between this host's addresses and onion services of Tor.
//
// At a peer's address on the loopback it forwards each connection to the service that the peer keeps
// for this host alone; there it arrives from this host's address. Both ends count its bytes (package
// resume), so that it outlives Tor's circuits: it goes on over another one.
package onions

import (
	"context"
	"encoding/binary"
	"errors"
	"io/fs"
	"log"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"e3/tools/tunnel/forward"
	"e3/tools/tunnel/resume"
)

// Version is that of the settings, which e3/overlays/tor/overlay.py writes.
const Version = 1

const (
	settingsFile = "onion_proxy.json"
	servingFile  = "forwarding"
	probePort    = 0 // asks only whether there is a way
	helloTimeout = 30 * time.Second
	partyPause   = 100 * time.Millisecond
	listenPause  = time.Second
	mostStreams  = 1 << 12
)

var connected = []byte{0}

// streams outlive what Tor needs to notice a dead circuit and to build another one.
var streams = resume.Config{Patience: 75 * time.Second, Answer: 30 * time.Second, Retry: 500 * time.Millisecond}

// Server forwards for the peers of its settings.
type Server struct {
	tor      tor
	entries  string
	mutex    sync.Mutex
	settings *Settings
	peers    map[string]*peer
	retry    *time.Timer // opens what could not be opened
}

// peer is a peer while it is served; all that belongs to it ends with the context.
type peer struct {
	Peer
	ctx      context.Context
	end      context.CancelFunc
	doors    map[uint16]net.Listener
	entry    net.Listener
	arriving map[uint16]*resume.Listener
}

// Serve serves the settings in a folder until it is told to end; SIGHUP reads them again. In the folder of
// secrets are the sockets: Tor's, and those at which Tor delivers what comes for each peer.
func Serve(folder, secrets string) error {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGHUP, syscall.SIGTERM, syscall.SIGINT)
	serving := filepath.Join(folder, servingFile)
	if err := os.Remove(serving); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	server := newServer(secrets)
	defer server.apply(&Settings{})
	if err := os.MkdirAll(server.entries, 0o700); err != nil {
		return err
	}
	for {
		asked, err := read(filepath.Join(folder, settingsFile))
		if err == nil {
			server.apply(asked)
			err = os.WriteFile(serving, []byte(asked.Revision+"\n"), 0o644)
		}
		if err != nil {
			log.Print("the settings stay as they were: ", err)
		}
		if received := <-signals; received != syscall.SIGHUP {
			return nil
		}
	}
}

func newServer(secrets string) *Server {
	made := &Server{
		tor:     tor{filepath.Join(secrets, "socks"), filepath.Join(secrets, "control")},
		entries: filepath.Join(secrets, "entries"),
		peers:   map[string]*peer{},
	}
	made.retry = time.AfterFunc(time.Hour, made.again)
	made.retry.Stop()
	return made
}

// apply serves exactly these peers; it touches only what changed.
func (s *Server) apply(asked *Settings) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.settings = asked
	s.serve()
}

// again opens what could not be opened.
func (s *Server) again() {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.serve()
}

// serve makes the peers those of the settings. The caller holds the mutex.
func (s *Server) serve() {
	asked := s.settings
	for name, known := range s.peers {
		if asked.Peers[name] != known.Peer {
			known.close()
			delete(s.peers, name)
		}
	}
	for name, wanted := range asked.Peers {
		known := s.peers[name]
		if known == nil {
			ctx, end := context.WithCancel(context.Background())
			known = &peer{
				Peer: wanted, ctx: ctx, end: end,
				doors: map[uint16]net.Listener{}, arriving: map[uint16]*resume.Listener{},
			}
			s.peers[name] = known
		}
		if err := errors.Join(s.openEntry(name, known), s.openDoors(known)); err != nil {
			log.Printf("cannot listen for %s: %v", name, err)
			s.retry.Reset(listenPause) // one for all of them
		}
	}
}

func (p *peer) close() {
	p.end()
	for _, door := range p.doors {
		_ = door.Close()
	}
	if p.entry != nil {
		_ = p.entry.Close()
	}
	for _, each := range p.arriving {
		each.Close()
	}
}

// openDoors listens at the peer's address, for connections of this host to its ports and no others.
func (s *Server) openDoors(to *peer) error {
	for port, door := range to.doors {
		if !slices.Contains(s.settings.Ports, port) {
			_ = door.Close()
			delete(to.doors, port)
		}
	}
	for _, port := range s.settings.Ports {
		if to.doors[port] != nil {
			continue
		}
		listener, err := net.Listen("tcp", netip.AddrPortFrom(to.Address, port).String())
		if err != nil {
			return err
		}
		to.doors[port] = listener
		go accept(listener, func(connection net.Conn) { s.depart(to, port, connection) })
	}
	return nil
}

// openEntry listens where Tor delivers connections of the peer.
func (s *Server) openEntry(name string, from *peer) error {
	if from.entry != nil {
		return nil
	}
	at := filepath.Join(s.entries, name)
	if err := os.Remove(at); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	listener, err := net.Listen("unix", at)
	if err != nil {
		return err
	}
	from.entry = listener
	go accept(listener, func(connection net.Conn) { s.arrive(from, connection) })
	return nil
}

func accept(at net.Listener, then func(net.Conn)) {
	for {
		connection, err := at.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // such as no descriptor left: others will end
			time.Sleep(partyPause)
			continue
		}
		go then(connection)
	}
}

// depart forwards a connection of this host's party to the peer's.
func (s *Server) depart(to *peer, port uint16, connection net.Conn) {
	defer connection.Close()
	ctx, cancel := context.WithCancel(to.ctx)
	defer cancel()
	stream, err := resume.Dial(ctx, streams, s.tor.calls(to.Onion, port).dial)
	if err != nil {
		return
	}
	local := resume.Local{TCPConn: connection.(*net.TCPConn), Stream: stream}
	forward.Join(ctx, resume.Departing{Local: local}, stream)
	<-stream.Done()
}

// arrive lets a connection that Tor delivers carry a stream of the peer.
func (s *Server) arrive(from *peer, connection net.Conn) {
	var port uint16
	_ = connection.SetDeadline(time.Now().Add(helloTimeout))
	if binary.Read(connection, binary.BigEndian, &port) != nil {
		_ = connection.Close()
		return
	}
	if listener := s.arriving(from, port); listener != nil {
		_ = listener.Serve("", connection)
	} else if port == probePort {
		_, _ = connection.Write(connected)
	}
	_ = connection.Close()
}

func (s *Server) arriving(from *peer, port uint16) *resume.Listener {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if from.ctx.Err() != nil || !slices.Contains(s.settings.Ports, port) {
		return nil
	}
	if from.arriving[port] == nil {
		own := netip.AddrPortFrom(s.settings.Address, port)
		from.arriving[port] = resume.NewListener(streams, mostStreams, func(_ string, stream *resume.Stream) {
			connection := from.reach(own, stream)
			if connection == nil {
				stream.Reset()
				return
			}
			defer connection.Close()
			forward.Join(from.ctx, resume.Local{TCPConn: connection, Stream: stream}, stream)
		})
	}
	return from.arriving[port]
}

// reach connects to this host's party from the address of the peer, once it listens. It returns nil when the
// peer does not wait any more: what that has sent is not for a party of later.
func (p *peer) reach(own netip.AddrPort, stream *resume.Stream) *net.TCPConn {
	dialer := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(p.Address, 0))}
	for !stream.Ended() {
		connection, err := dialer.DialContext(p.ctx, "tcp", own.String())
		if err == nil {
			return connection.(*net.TCPConn)
		}
		select {
		case <-p.ctx.Done():
			return nil
		case <-stream.Done():
			return nil
		case <-time.After(partyPause):
		}
	}
	return nil
}
