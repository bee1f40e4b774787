package wire

import (
	"bytes"
	"net/netip"
	"testing"

	"github.com/pion/stun/v3"
)

func TestKindsAreToldApart(t *testing.T) {
	request := stun.MustBuild(stun.TransactionID, stun.BindingRequest)
	bind, err := Token{1}.ChannelBind(FirstChannel, "")
	if err != nil {
		t.Fatal(err)
	}
	for name, one := range map[string]struct {
		packet []byte
		kind   Kind
	}{
		"a handshake":       {[]byte{1, 0, 0, 0, 9, 9, 9, 9}, WireGuard},
		"data":              {[]byte{4, 0, 0, 0, 9, 9, 9, 9}, WireGuard},
		"a check":           {request.Raw, STUN},
		"a request to bind": {bind.Raw, STUN},
		"a frame":           {AppendFrame(nil, LastChannel, []byte("payload")), Frame},
		"nothing":           {nil, Unknown},
		"a short one":       {[]byte{1, 0}, Unknown},
		"another type":      {[]byte{5, 0, 0, 0, 9, 9, 9, 9}, Unknown},
		"another channel":   {[]byte{0x50, 0, 0, 0}, Unknown},
	} {
		if found := Classify(one.packet); found != one.kind {
			t.Errorf("%s is of kind %d, found %d", name, one.kind, found)
		}
	}
}

func TestAFrameOfAnotherLengthHasNoPayload(t *testing.T) {
	packet := AppendFrame(nil, FirstChannel, []byte("payload"))
	if channel, payload := ReadFrame(packet); channel != FirstChannel || !bytes.Equal(payload, []byte("payload")) {
		t.Errorf("read %x %q", channel, payload)
	}
	for _, wrong := range [][]byte{packet[:len(packet)-1], append(packet, 0)} {
		if _, payload := ReadFrame(wrong); payload != nil {
			t.Errorf("a frame of %d bytes has %q", len(wrong), payload)
		}
	}
}

func pairs(t *testing.T, secret string) (one, other Pair) {
	t.Helper()
	one, err := NewPair([]byte(secret), []byte("one"), []byte("other"))
	if err != nil {
		t.Fatal(err)
	}
	other, err = NewPair([]byte(secret), []byte("other"), []byte("one"))
	if err != nil {
		t.Fatal(err)
	}
	return one, other
}

func TestACheckIsOfThePeerAlone(t *testing.T) {
	one, other := pairs(t, "secret")
	_, stranger := pairs(t, "another secret")
	request, err := one.Request()
	if err != nil {
		t.Fatal(err)
	}
	message, err := Decode(request.Raw)
	if err != nil {
		t.Fatal(err)
	}
	if !other.Authentic(message) {
		t.Error("the peer does not take it")
	}
	if one.Authentic(message) {
		t.Error("who sent it takes it back")
	}
	if stranger.Authentic(message) {
		t.Error("a pair with another secret takes it")
	}
	message.Raw[len(message.Raw)-1] ^= 1
	if again, err := Decode(message.Raw); err == nil && other.Authentic(again) {
		t.Error("a changed one is taken")
	}
}

func TestAnAnswerSaysFromWhereTheCheckCame(t *testing.T) {
	one, other := pairs(t, "secret")
	request, err := one.Request()
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"198.18.0.7:4242", "[fd00::7]:4242"} {
		seen := netip.MustParseAddrPort(text)
		response, err := other.Response(request, seen)
		if err != nil {
			t.Fatal(err)
		}
		message, err := Decode(response.Raw)
		if err != nil {
			t.Fatal(err)
		}
		if mapped, err := MappedIn(message); err != nil || mapped != seen || !one.Authentic(message) {
			t.Errorf("%s became %s (%v)", seen, mapped, err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	bind, _ := Token{1}.ChannelBind(FirstChannel, "nonce")
	f.Add(bind.Raw)
	f.Fuzz(func(_ *testing.T, packet []byte) {
		if Classify(packet) == Frame {
			ReadFrame(packet)
		}
		if message, err := Decode(packet); err == nil {
			ChannelIn(message)
			ErrorIn(message)
			_, _ = MappedIn(message)
			Token{1}.Authentic(message)
		}
	})
}
