package onions

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"log"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

const service = "2gzyxa5ihm7nsggfxnu52rck2vv4rvmdlkiu3zzui5du4xyclen53wid"

const given = `{
	"address": "127.94.0.1", "ports": [11365], "probe_seconds": 60, "revision": "r",
	"peers": {"b": {"address": "127.94.0.2", "onion": "` + service + `", "key": "K"}}
}`

func TestSettingsAreRead(t *testing.T) {
	found, err := parse([]byte(given))
	if err != nil {
		t.Fatal(err)
	}
	if found.Peers["b"].Onion != service || found.Ports[0] != 11365 || found.Revision != "r" {
		t.Fatalf("the settings are %+v", found)
	}
}

func TestWrongSettingsAreRefused(t *testing.T) {
	for name, change := range map[string][2]string{
		"an address that others reach": {"127.94.0.1", "10.0.0.1"},
		"a peer that others reach":     {"127.94.0.2", "198.18.0.9"},
		"no onion service":             {service, "../x"},
		"no host's name":               {`"b"`, `"../b"`},
		"a port that there is not":     {"11365", "65536"},
	} {
		if _, err := parse([]byte(strings.Replace(given, change[0], change[1], 1))); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}

// network stands for Tor: it takes connections by SOCKS and delivers them to the entry of the service, at
// its own pace; what it carries can be cut.
type network struct {
	t        *testing.T
	at       tor
	entry    string
	refusals atomic.Int32
	forgot   atomic.Int32
	mutex    sync.Mutex
	open     []net.Conn
	carried  int
}

func (n *network) serve() {
	for path, act := range map[string]func(net.Conn){n.at.socks: n.call, n.at.control: n.command} {
		listener, err := net.Listen("unix", path)
		if err != nil {
			n.t.Fatal(err)
		}
		n.t.Cleanup(func() { _ = listener.Close() })
		go accept(listener, act)
	}
}

func (n *network) command(connection net.Conn) {
	defer connection.Close()
	said := make([]byte, 64)
	count, _ := connection.Read(said)
	if bytes.Contains(said[:count], []byte("SIGNAL NEWNYM")) {
		n.forgot.Add(1)
	}
	_, _ = io.WriteString(connection, "250 OK\r\n")
}

func (n *network) call(from net.Conn) {
	request := make([]byte, 3+5+62+2)
	if _, err := io.ReadFull(from, request); err != nil {
		return
	}
	if wanted := service + ".onion"; string(request[8:70]) != wanted {
		n.t.Errorf("%q is called", request[8:70])
	}
	if n.refusals.Add(-1) >= 0 {
		_, _ = from.Write([]byte{5, 0, 5, 4, 0, 1, 0, 0, 0, 0, 0, 0})
		_ = from.Close()
		return
	}
	to, err := net.Dial("unix", n.entry)
	if err != nil {
		_ = from.Close()
		return
	}
	n.mutex.Lock()
	n.open = append(n.open, from, to)
	n.carried++
	n.mutex.Unlock()
	_, _ = from.Write([]byte{5, 0, 5, 0, 0, 1, 0, 0, 0, 0, 0, 0})
	go func() { _, _ = io.Copy(to, from); _ = to.Close() }()
	_, _ = io.Copy(from, to)
	_ = from.Close()
}

// count returns how many circuits were made.
func (n *network) count() int {
	n.mutex.Lock()
	defer n.mutex.Unlock()
	return n.carried
}

// cut breaks every circuit.
func (n *network) cut() {
	n.mutex.Lock()
	defer n.mutex.Unlock()
	for _, each := range n.open {
		_ = each.Close()
	}
	n.open = nil
}

// joined returns a network, and the address by which host a reaches host b.
func joined(t *testing.T) (*network, string, netip.AddrPort) {
	t.Helper()
	a, b := netip.MustParseAddr("127.94.0.1"), netip.MustParseAddr("127.94.0.2")
	port := free(t, b)
	folders := []string{t.TempDir(), t.TempDir()}
	tor := &network{t: t, at: newServer(folders[0]).tor, entry: filepath.Join(folders[1], "entries", "a")}
	// one loopback serves both hosts, so the door of a is at an address that is b's on no host
	door := netip.MustParseAddr("127.94.0.3")
	started(t, tor, folders[0], &Settings{Address: a, Ports: []uint16{port}, Peers: map[string]Peer{"b": {door, service}}})
	started(t, nil, folders[1], &Settings{Address: b, Ports: []uint16{port}, Peers: map[string]Peer{"a": {
		netip.MustParseAddr("127.94.0.4"), service,
	}}})
	return tor, netip.AddrPortFrom(door, port).String(), netip.AddrPortFrom(b, port)
}

func started(t *testing.T, tor *network, folder string, asked *Settings) {
	t.Helper()
	server := newServer(folder)
	if err := os.MkdirAll(server.entries, 0o700); err != nil {
		t.Fatal(err)
	}
	if tor != nil {
		tor.serve()
	}
	server.apply(asked)
	t.Cleanup(func() { server.apply(&Settings{}) })
}

func free(t *testing.T, at netip.Addr) uint16 {
	t.Helper()
	listener, err := net.Listen("tcp", netip.AddrPortFrom(at, 0).String())
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().(*net.TCPAddr).AddrPort().Port()
}

// echo stands for the party of b: it sends back what comes, and tells from where.
func echo(t *testing.T, at netip.AddrPort) <-chan string {
	t.Helper()
	listener, err := net.Listen("tcp", at.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	from := make(chan string, 16)
	go accept(listener, func(connection net.Conn) {
		host, _, _ := net.SplitHostPort(connection.RemoteAddr().String())
		from <- host
		_, _ = io.Copy(connection, connection)
		_ = connection.(*net.TCPConn).CloseWrite()
	})
	return from
}

func dialled(t *testing.T, at string) *net.TCPConn {
	t.Helper()
	connection, err := net.Dial("tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = connection.Close() })
	_ = connection.SetDeadline(time.Now().Add(30 * time.Second))
	return connection.(*net.TCPConn)
}

func TestAStreamOutlivesItsCircuits(t *testing.T) {
	tor, at, party := joined(t)
	tor.refusals.Store(2)
	from := echo(t, party)
	connection := dialled(t, at)
	for i := range uint32(2_000) {
		if i%500 == 499 {
			tor.cut()
		}
		if err := binary.Write(connection, binary.BigEndian, i); err != nil {
			t.Fatal(err)
		}
		var found uint32
		if err := binary.Read(connection, binary.BigEndian, &found); err != nil || found != i {
			t.Fatalf("number %d is %d (%v)", i, found, err)
		}
	}
	_ = connection.CloseWrite()
	if _, err := connection.Read(make([]byte, 1)); err != io.EOF {
		t.Fatalf("after the end comes %v", err)
	}
	if host := <-from; host != "127.94.0.4" {
		t.Fatalf("it arrives from %s", host)
	}
	if made := tor.count(); len(from) > 0 || made < 2 {
		t.Fatalf("%d circuits carried it, and %d other connections arrived", made, len(from))
	}
}

func TestAPartyThatListensLaterIsReached(t *testing.T) {
	_, at, party := joined(t)
	connection := dialled(t, at)
	fmt.Fprint(connection, "hello")
	time.Sleep(300 * time.Millisecond)
	echo(t, party)
	said := make([]byte, 5)
	if _, err := io.ReadFull(connection, said); err != nil || string(said) != "hello" {
		t.Fatalf("%q comes back (%v)", said, err)
	}
}

func TestNothingArrivesOfWhoHasGoneBefore(t *testing.T) {
	tor, at, party := joined(t)
	tor.refusals.Store(1 << 20)
	from := echo(t, party)
	connection := dialled(t, at)
	fmt.Fprint(connection, "stale")
	time.Sleep(100 * time.Millisecond)
	_ = connection.Close()
	time.Sleep(100 * time.Millisecond)
	tor.refusals.Store(0)
	select {
	case host := <-from:
		t.Fatalf("something arrives from %s", host)
	case <-time.After(3 * time.Second):
	}
}

func TestNothingWaitsForThePartyOfWhoHasGone(t *testing.T) {
	tor, at, party := joined(t)
	connection := dialled(t, at)
	fmt.Fprint(connection, "stale")
	for end := time.Now().Add(5 * time.Second); tor.count() == 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("no circuit is made")
		}
	}
	_ = connection.Close()
	time.Sleep(3 * partyPause)
	select {
	case host := <-echo(t, party):
		t.Fatalf("something arrives from %s", host)
	case <-time.After(5 * partyPause):
	}
}

func TestOnlyThePortsOfTheSettingsAreServed(t *testing.T) {
	server := newServer(t.TempDir())
	if err := os.MkdirAll(server.entries, 0o700); err != nil {
		t.Fatal(err)
	}
	at := netip.MustParseAddr("127.94.0.5")
	asked := Settings{
		Address: netip.MustParseAddr("127.94.0.1"),
		Ports:   []uint16{free(t, at), free(t, at)},
		Peers:   map[string]Peer{"b": {at, service}},
	}
	t.Cleanup(func() { server.apply(&Settings{}) })
	for ; ; asked.Ports = asked.Ports[:len(asked.Ports)-1] {
		fewer := asked
		server.apply(&fewer)
		if found := len(server.peers["b"].doors); found != len(asked.Ports) {
			t.Fatalf("%d ports are served, not %d", found, len(asked.Ports))
		}
		if len(asked.Ports) == 0 {
			return
		}
	}
}

// complaints counts what is logged.
type complaints chan struct{}

func (c complaints) Write(line []byte) (int, error) {
	c <- struct{}{}
	return len(line), nil
}

func TestWhatCannotBeOpenedIsTriedOnceAPause(t *testing.T) {
	taken, err := net.Listen("tcp", "127.94.0.6:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	at := taken.Addr().(*net.TCPAddr).AddrPort()
	server := newServer(t.TempDir())
	if err := os.MkdirAll(server.entries, 0o700); err != nil {
		t.Fatal(err)
	}
	asked := Settings{Address: netip.MustParseAddr("127.94.0.1"), Ports: []uint16{at.Port()}, Peers: map[string]Peer{}}
	for _, name := range []string{"b", "c", "d", "e"} {
		asked.Peers[name] = Peer{at.Addr(), service}
	}
	logged := make(complaints, 1<<10)
	log.SetOutput(logged)
	t.Cleanup(func() { log.SetOutput(os.Stderr) })
	t.Cleanup(func() { server.apply(&Settings{}) })
	began := time.Now()
	server.apply(&asked)
	for range 2*len(asked.Peers) + 1 {
		<-logged
	}
	if took := time.Since(began); took < 2*listenPause {
		t.Fatalf("all peers were tried three times within %s", took)
	}
}

func TestWhetherThereIsAWay(t *testing.T) {
	tor, _, _ := joined(t)
	connection, err := net.Dial("unix", tor.entry)
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	if _, err := connection.Write([]byte{0, probePort}); err != nil {
		t.Fatal(err)
	}
	said, err := io.ReadAll(connection)
	if err != nil || !bytes.Equal(said, connected) {
		t.Fatalf("the answer is %v (%v)", said, err)
	}
}

func TestTorIsToldToForgetWhereCallsFail(t *testing.T) {
	tor, _, _ := joined(t)
	tor.refusals.Store(1 << 20)
	by := tor.at.calls(service, 1)
	by.since = time.Now().Add(-stuckFor - time.Second)
	if connection, err := by.dial(t.Context()); err == nil {
		_ = connection.Close()
	}
	if tor.forgot.Load() != 1 || by.patience != 2*stuckFor {
		t.Fatalf("it was told %d times, and patience is %s", tor.forgot.Load(), by.patience)
	}
}
