package link

import (
	"net"
	"net/netip"
	"testing"
	"time"
)

func TestDatagramsOfBothVersionsOfIPReachTheirAddresses(t *testing.T) {
	var sinks []*net.UDPConn
	for _, address := range []string{"127.0.0.1:0", "[::1]:0"} {
		listening, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort(address)))
		if err != nil {
			t.Skip("no IPv6 here: ", err)
		}
		defer func() { _ = listening.Close() }()
		sinks = append(sinks, listening)
	}
	bind := New(Config{}, nil).Bind
	if _, _, err := bind.Open(0); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = bind.Close() }()
	elsewhere := netip.MustParseAddrPort("[::2]:9")
	const rounds = 50
	for range rounds {
		_ = bind.send(elsewhere, []byte("gone")) // there is no route to it
		for _, sink := range sinks {
			to := sink.LocalAddr().(*net.UDPAddr).AddrPort()
			if err := bind.send(normal(to), []byte("here")); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, sink := range sinks {
		_ = sink.SetReadDeadline(time.Now().Add(5 * time.Second))
		for i := range rounds {
			if _, err := sink.Read(make([]byte, 16)); err != nil {
				t.Fatalf("%s got %d of %d: %v", sink.LocalAddr(), i, rounds, err)
			}
		}
	}
}
