package party

import (
	"crypto/ecdh"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"golang.zx2c4.com/wireguard/conn"
	"golang.zx2c4.com/wireguard/conn/bindtest"
	"golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/tun/tuntest"
)

// cable carries the datagrams of a device to the other one, but for the first of a kind.
type cable struct {
	conn.Bind
	other bindtest.ChannelEndpoint
	loses uint32
	sent  atomic.Int32
}

// ParseEndpoint returns the other end, whatever the peer is called.
func (c *cable) ParseEndpoint(string) (conn.Endpoint, error) { return c.other, nil }

func (c *cable) Send(buffers [][]byte, endpoint conn.Endpoint) error {
	if binary.LittleEndian.Uint32(buffers[0]) == c.loses && c.sent.Add(1) == 1 {
		return nil
	}
	return c.Bind.Send(buffers, endpoint)
}

func newEnd(t *testing.T, bind conn.Bind) (*peers, *ecdh.PrivateKey, chan int) {
	t.Helper()
	key, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	log := &device.Logger{Verbosef: device.DiscardLogf, Errorf: device.DiscardLogf}
	wireguard := device.NewDevice(tuntest.NewChannelTUN().TUN(), bind, log)
	if err := wireguard.IpcSet(fmt.Sprintf("private_key=%x\n", key.Bytes())); err != nil {
		t.Fatal(err)
	}
	if err := wireguard.Up(); err != nil {
		t.Fatal(err)
	}
	up := make(chan int, 1)
	made := newPeers(wireguard, func(pid int) { up <- pid })
	t.Cleanup(made.close)
	return made, key, up
}

func TestBothSidesAreUpSoonAlthoughTheFirstPacketIsLost(t *testing.T) {
	for name, kind := range map[string]uint32{
		"the handshake": device.MessageInitiationType,
		"its answer":    device.MessageResponseType,
		"the data":      device.MessageTransportType,
	} {
		t.Run(name, func(t *testing.T) { up(t, kind) })
	}
}

// up lets two sides meet by cables that lose the first packet of that kind.
func up(t *testing.T, loses uint32) {
	t.Helper()
	binds := bindtest.NewChannelBinds()
	initiator, initiating, initiated := newEnd(t, &cable{Bind: binds[0], other: 1, loses: loses})
	responder, responding, responded := newEnd(t, &cable{Bind: binds[1], other: 2, loses: loses})
	for _, end := range []struct {
		of   *peers
		peer tunnel
	}{
		{responder, tunnel{pid: 0, public: initiating.PublicKey().Bytes(), address: netip.MustParseAddr("10.0.0.1")}},
		{initiator, tunnel{pid: 1, public: responding.PublicKey().Bytes(), address: netip.MustParseAddr("10.0.0.2"), initiates: true}},
	} {
		end.peer.psk = make([]byte, keyBytes)
		if err := end.of.set(end.peer); err != nil {
			t.Fatal(err)
		}
		end.of.reached(end.peer.pid, 0)
	}
	for name, up := range map[string]chan int{"initiator": initiated, "responder": responded} {
		select {
		case <-up:
		case <-time.After(5 * time.Second):
			t.Fatalf("the %s is not up", name)
		}
	}
}
