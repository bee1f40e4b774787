package relay

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/pion/stun/v3"

	"e3/tools/tunnel/internal/wire"
)

const (
	patience = 5 * time.Second
	silence  = 200 * time.Millisecond
	channel  = wire.FirstChannel + 7
)

var tokens = [2]wire.Token{{1}, {2}}

type fixture struct {
	*testing.T
	relay *Relay
	port  uint16
}

func begin(t *testing.T, quota uint64) fixture {
	t.Helper()
	r, err := New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	port, err := r.ListenUDP(0)
	if err != nil {
		t.Fatal(err)
	}
	f := fixture{t, r, port}
	f.grant(quota, time.Minute)
	return f
}

func (f fixture) grant(quota uint64, life time.Duration) {
	f.Helper()
	grant := Grant{Tokens: tokens, Bytes: quota, Expires: time.Now().Add(life), Rate: 1 << 30}
	if err := f.relay.Add(grant); err != nil {
		f.Fatal(err)
	}
}

// client is one side's socket.
type client struct {
	*testing.T
	socket *net.UDPConn
}

func (f fixture) client() client {
	f.Helper()
	socket, err := net.DialUDP("udp4", nil, &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: int(f.port)})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = socket.Close() })
	return client{f.T, socket}
}

func (c client) send(packet []byte) {
	c.Helper()
	if _, err := c.socket.Write(packet); err != nil {
		c.Fatal(err)
	}
}

// heard returns the next datagram, nil if none comes.
func (c client) heard(within time.Duration) []byte {
	c.Helper()
	_ = c.socket.SetReadDeadline(time.Now().Add(within))
	buffer := make([]byte, 2048)
	count, err := c.socket.Read(buffer)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return nil
	}
	if err != nil {
		c.Fatal(err)
	}
	return buffer[:count]
}

func (c client) ask(message *stun.Message, err error) *stun.Message {
	c.Helper()
	if err != nil {
		c.Fatal(err)
	}
	c.send(message.Raw)
	answer, err := wire.Decode(c.heard(patience))
	if err != nil {
		c.Fatal(err)
	}
	return answer
}

// bind shows a token, and returns the answer and the nonce that was given before.
func (c client) bind(token wire.Token, number uint16) (*stun.Message, string) {
	c.Helper()
	code, nonce := wire.ErrorIn(c.ask(token.ChannelBind(number, "")))
	if code != stun.CodeUnauthorized || nonce == "" {
		c.Fatalf("asked without a nonce, the relay says %d and %q", code, nonce)
	}
	return c.ask(token.ChannelBind(number, nonce)), nonce
}

func (c client) bound(token wire.Token, number uint16) {
	c.Helper()
	if answer, _ := c.bind(token, number); answer.Type.Class != stun.ClassSuccessResponse || !token.Authentic(answer) {
		c.Fatalf("the relay refuses a token: %s", answer)
	}
}

func TestFramesGoToTheOtherSideAlone(t *testing.T) {
	f := begin(t, 1<<20)
	one, other, stranger := f.client(), f.client(), f.client()
	one.bound(tokens[0], channel)
	other.bound(tokens[1], channel+1)
	for i := range 50 {
		payload := bytes.Repeat([]byte{4, 0, 0, 0, byte(i)}, 100)
		one.send(wire.AppendFrame(nil, channel, payload))
		if got := other.heard(patience); !bytes.Equal(got, wire.AppendFrame(nil, channel+1, payload)) {
			t.Fatalf("frame %d came as %x", i, got)
		}
	}
	stranger.send(wire.AppendFrame(nil, channel, []byte("payload")))
	if got := other.heard(silence); got != nil {
		t.Errorf("a stranger's frame came: %x", got)
	}
}

func TestNobodyBindsWithoutTheToken(t *testing.T) {
	f := begin(t, 1<<20)
	one, other := f.client(), f.client()
	if answer, _ := one.bind(wire.Token{9}, channel); answer.Type.Class != stun.ClassErrorResponse {
		t.Error("a token that nobody was given is taken")
	}
	_, nonce := one.bind(tokens[0], channel)
	// what an observer has seen serves at no other address
	code, _ := wire.ErrorIn(other.ask(tokens[0].ChannelBind(channel, nonce)))
	if code != stun.CodeStaleNonce {
		t.Errorf("another source's nonce is answered by %d", code)
	}
	request, err := tokens[0].ChannelBind(channel, nonce)
	if err != nil {
		t.Fatal(err)
	}
	request.Raw[len(request.Raw)-1] ^= 1
	if answer := one.ask(wire.Decode(request.Raw)); answer.Type.Class != stun.ClassErrorResponse {
		t.Error("a request that was changed is taken")
	}
}

func TestASideThatMovesIsFollowed(t *testing.T) {
	f := begin(t, 1<<20)
	one, other, moved := f.client(), f.client(), f.client()
	one.bound(tokens[0], channel)
	other.bound(tokens[1], channel)
	moved.bound(tokens[0], channel)
	other.send(wire.AppendFrame(nil, channel, []byte("payload")))
	if moved.heard(patience) == nil {
		t.Error("nothing came to where the side is now")
	}
	one.send(wire.AppendFrame(nil, channel, []byte("payload")))
	if other.heard(silence) != nil {
		t.Error("a frame came from where the side was before")
	}
}

func TestAGrantEndsByQuotaAndTime(t *testing.T) {
	f := begin(t, 1000)
	one, other := f.client(), f.client()
	one.bound(tokens[0], channel)
	other.bound(tokens[1], channel)
	frame := wire.AppendFrame(nil, channel, make([]byte, 396))
	passed := 0
	for range 4 {
		one.send(frame)
		if other.heard(silence) != nil {
			passed++
		}
	}
	if passed != 2 {
		t.Errorf("%d frames of 400 bytes passed with a quota of 1000", passed)
	}
	if err := f.relay.Remove(tokens[1]); err == nil {
		f.grant(1<<20, -time.Second)
	}
	if answer, _ := one.bind(tokens[0], channel); answer.Type.Class != stun.ClassErrorResponse {
		t.Error("a grant that is over is taken")
	}
}

func TestSTUNTellsTheSource(t *testing.T) {
	f := begin(t, 1)
	one := f.client()
	answer := one.ask(stun.Build(stun.TransactionID, stun.BindingRequest))
	mapped, err := wire.MappedIn(answer)
	if own := netip.MustParseAddrPort(one.socket.LocalAddr().String()); err != nil || mapped != own {
		t.Errorf("the source %s is told as %s (%v)", own, mapped, err)
	}
}

func TestASourceIsNotAnsweredWithoutEnd(t *testing.T) {
	f := begin(t, 1)
	one := f.client()
	request := stun.MustBuild(stun.TransactionID, stun.BindingRequest)
	answers := 0
	for range 2 * requestBurst {
		one.send(request.Raw)
		if one.heard(20*time.Millisecond) == nil {
			break
		}
		answers++
	}
	if answers >= 2*requestBurst {
		t.Errorf("%d requests at once were answered", answers)
	}
}

func (f fixture) dial(port uint16, token wire.Token) net.Conn {
	f.Helper()
	connection, err := net.Dial("tcp4", netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port).String())
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = connection.Close() })
	_ = connection.SetDeadline(time.Now().Add(patience))
	nonce := ""
	for range 2 {
		request, err := token.ChannelBind(channel, nonce)
		if err != nil {
			f.Fatal(err)
		}
		if _, err := connection.Write(request.Raw); err != nil {
			f.Fatal(err)
		}
		answer, err := wire.ReadMessage(connection)
		if err != nil {
			f.Fatal(err)
		}
		_, nonce = wire.ErrorIn(answer)
	}
	if nonce != "" {
		f.Fatal("the relay refuses a token")
	}
	return connection
}

func TestConnectionsOfBothSidesAreJoined(t *testing.T) {
	f := begin(t, 1<<20)
	port, err := f.relay.ListenTCP(0, "")
	if err != nil {
		t.Fatal(err)
	}
	one := f.dial(port, tokens[0])
	said := bytes.Repeat([]byte("early "), 5000)
	go func() { _, _ = one.Write(said) }()
	other := f.dial(port, tokens[1])
	got := make([]byte, len(said))
	if _, err := io.ReadFull(other, got); err != nil || !bytes.Equal(got, said) {
		t.Errorf("what was sent before the other side came is lost: %v", err)
	}
	_ = other.Close()
	if _, err := io.ReadFull(one, got[:1]); err == nil {
		t.Error("a side goes on without the other")
	}
}

func TestASideThatMeetsOneThatHasJustGivenUpWaitsForTheNext(t *testing.T) {
	f := begin(t, 1<<20)
	port, err := f.relay.ListenTCP(0, "")
	if err != nil {
		t.Fatal(err)
	}
	gone := &waiter{partner: make(chan *peeked, 1)}
	gone.give(nil)
	f.relay.mutex.Lock()
	for _, each := range f.relay.names {
		if each.token == tokens[0] {
			each.waiting = gone
		}
	}
	f.relay.mutex.Unlock()
	other, one := f.dial(port, tokens[1]), f.dial(port, tokens[0])
	got := make([]byte, 5)
	_, _ = one.Write([]byte("hello"))
	if _, err := io.ReadFull(other, got); err != nil {
		t.Errorf("the sides are not joined: %v", err)
	}
}

func TestASpentQuotaEndsConnections(t *testing.T) {
	f := begin(t, 1000)
	port, err := f.relay.ListenTCP(0, "")
	if err != nil {
		t.Fatal(err)
	}
	one, other := f.dial(port, tokens[0]), f.dial(port, tokens[1])
	go func() { _, _ = one.Write(make([]byte, 100000)) }()
	if got, _ := io.Copy(io.Discard, other); got > 1000 {
		t.Errorf("%d bytes passed with a quota of 1000", got)
	}
}

func TestTLSIsPassedToTheBackend(t *testing.T) {
	f := begin(t, 1)
	backend, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = backend.Close() })
	go func() {
		if connection, err := backend.Accept(); err == nil {
			_, _ = io.Copy(connection, connection)
		}
	}()
	port, err := f.relay.ListenTCP(0, backend.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	connection, err := net.Dial("tcp4", netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port).String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = connection.Close() }()
	_ = connection.SetDeadline(time.Now().Add(patience))
	hello := []byte{tlsHandshake, 3, 1, 0, 5}
	if _, err := connection.Write(hello); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(hello))
	if _, err := io.ReadFull(connection, got); err != nil || !bytes.Equal(got, hello) {
		t.Errorf("the backend got %x: %v", got, err)
	}
}
