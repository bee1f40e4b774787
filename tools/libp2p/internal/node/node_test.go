package node

import (
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/muxer/yamux"
	"github.com/multiformats/go-multiaddr"

	"e3/tools/libp2p/internal/settings"
)

// fleet is the number of peers of one host in the largest lab.
const fleet = 600

func TestNoMemberOfALargeFleetIsRefused(t *testing.T) {
	made, err := resources()
	if err != nil {
		t.Fatal(err)
	}
	defer made.Close()
	for i := range fleet {
		text := fmt.Sprintf("/ip4/198.18.%d.%d/tcp/4001", i/250, i%250+1)
		from, err := multiaddr.NewMultiaddr(text)
		if err != nil {
			t.Fatal(err)
		}
		opened, err := made.OpenConnection(network.DirInbound, false, from)
		if err != nil {
			t.Fatalf("connection %d: %v", i, err)
		}
		id := idOf(t, filepath.Join(t.TempDir(), "key"))
		if err := opened.SetPeer(id); err != nil {
			t.Fatalf("peer %d: %v", i, err)
		}
		stream, err := made.OpenStream(id, network.DirInbound)
		if err != nil {
			t.Fatalf("stream %d: %v", i, err)
		}
		if err := stream.SetProtocol(protocolID); err != nil {
			t.Fatalf("protocol of stream %d: %v", i, err)
		}
	}
}

func TestManyPingsAtOnceDoNotLookLikeADeadConnection(t *testing.T) {
	dialling, waiting := pair(t)
	c := dialling.best(waiting.host.ID())
	failed := make(chan error, 32)
	for range cap(failed) {
		go func() { failed <- dialling.alive(c) }()
	}
	for range cap(failed) {
		if err := <-failed; err != nil {
			t.Fatal(err)
		}
	}
}

func TestAmongManyMembersTheMuxerAloneLooksForDeadConnections(t *testing.T) {
	usual := yamux.DefaultTransport.Config()
	few, many := withPeers(5), withPeers(fleet)
	if asked := few.muxer().Config(); !few.looks() || asked.KeepAliveInterval != usual.KeepAliveInterval {
		t.Fatalf("few members ask every %v", asked.KeepAliveInterval)
	}
	asked := many.muxer().Config()
	if many.looks() || asked.KeepAliveInterval < 10*usual.KeepAliveInterval ||
		asked.MeasureRTTInterval != asked.KeepAliveInterval ||
		asked.ConnectionWriteTimeout < 10*usual.ConnectionWriteTimeout {
		t.Fatalf("many members ask every %v and %v, for %v",
			asked.KeepAliveInterval, asked.MeasureRTTInterval, asked.ConnectionWriteTimeout)
	}
}

func withPeers(count int) *Node {
	made := &Node{}
	made.settings.Store(&settings.Settings{Peers: make([]settings.Peer, count)})
	return made
}

func TestAPeerThatHangsUpIsDialledAtGrowingIntervals(t *testing.T) {
	_, waiting := pair(t)
	at := strings.TrimPrefix(waiting.settings.Load().Listen[0].String(), "/ip4/127.0.0.1/tcp/")
	_ = waiting.host.Close()
	listener, err := net.Listen("tcp", "127.0.0.1:"+at)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	var calls atomic.Int32
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			calls.Add(1)
			_ = connection.Close()
		}
	}()
	time.Sleep(3 * time.Second)
	// after 0, 0.1, 0.3, 0.7, 1.5 s, ...
	if found := calls.Load(); found < 2 || found > 12 {
		t.Fatalf("it was dialled %d times in 3 s", found)
	}
}

// pair returns two nodes that are connected; the first has dialled.
func pair(t *testing.T) (*Node, *Node) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, free, _ := net.SplitHostPort(listener.Addr().String())
	_ = listener.Close() // the second node listens there
	at, err := multiaddr.NewMultiaddr("/ip4/127.0.0.1/tcp/" + free)
	if err != nil {
		t.Fatal(err)
	}
	keys := []string{filepath.Join(t.TempDir(), "key"), filepath.Join(t.TempDir(), "key")}
	own := []netip.Addr{netip.MustParseAddr("127.93.0.1"), netip.MustParseAddr("127.93.0.2")}
	first, second := idOf(t, keys[0]), idOf(t, keys[1])
	waiting := started(t, keys[1], settings.Settings{
		Address: own[1], Security: "tls",
		Listen: []multiaddr.Multiaddr{at}, Announce: []multiaddr.Multiaddr{at},
		Peers: []settings.Peer{{Name: "first", ID: first, Address: own[0]}},
	})
	dialling := started(t, keys[0], settings.Settings{
		Address: own[0], Security: "tls", Peers: []settings.Peer{{
			Name: "second", ID: second, Address: own[1], Addresses: []multiaddr.Multiaddr{at}, Dials: true,
		}},
	})
	for end := time.Now().Add(10 * time.Second); dialling.best(second) == nil; time.Sleep(openPause) {
		if time.Now().After(end) {
			t.Fatal("the two do not connect")
		}
	}
	return dialling, waiting
}

func idOf(t *testing.T, key string) peer.ID {
	t.Helper()
	var said strings.Builder
	if err := PrintID(&said, key); err != nil {
		t.Fatal(err)
	}
	id, err := peer.Decode(strings.TrimSpace(said.String()))
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func started(t *testing.T, key string, asked settings.Settings) *Node {
	t.Helper()
	made := &Node{}
	made.settings.Store(&asked)
	if err := made.start(key); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		made.apply(&settings.Settings{Address: asked.Address})
		_ = made.host.Close()
	})
	return made
}
