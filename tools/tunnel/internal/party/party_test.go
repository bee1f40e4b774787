package party

import (
	"bytes"
	"encoding/base64"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"e3/tools/tunnel/internal/lines"
	"e3/tools/tunnel/internal/link"
)

// heard is what a party has said so far.
type heard struct {
	mutex sync.Mutex
	said  bytes.Buffer
}

func (h *heard) Write(data []byte) (int, error) {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	return h.said.Write(data)
}

func (h *heard) has(text string) bool {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	return strings.Contains(h.said.String(), text)
}

// late is a carrier that gets to know a peer only when the link has found a path to it.
type late struct {
	carrier
	link *link.Link
	out  *heard
}

func (l late) set(one tunnel) error {
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if l.link.Current(one.pid) != nil && l.out.has(`"event":"path"`) {
			break
		}
	}
	return l.carrier.set(one)
}

func newParty(t *testing.T, pid int) (*party, *heard, answer) {
	t.Helper()
	out := &heard{}
	made := &party{out: lines.NewWriter(out)}
	t.Cleanup(made.close)
	said, err := made.open(openCommand{
		PID: pid, Mode: modeUserspace, Loopback: true,
		Address: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 77, 0, byte(pid + 1)}), 24),
	})
	if err != nil {
		t.Fatal(err)
	}
	return made, out, said.(answer)
}

func TestAPathThatIsFoundBeforeTheCarrierKnowsThePeerIsUsed(t *testing.T) {
	one, first, opened := newParty(t, 0)
	other, second, met := newParty(t, 1)
	one.carrier = late{one.carrier, one.link, first}
	other.carrier = late{other.carrier, other.link, second}
	psk := base64.StdEncoding.EncodeToString(make([]byte, keyBytes))
	var group sync.WaitGroup
	for _, end := range []struct {
		of  *party
		pid int
		at  answer
	}{{one, 1, met}, {other, 0, opened}} {
		command := peerCommand{
			PID: end.pid, Address: netip.AddrFrom4([4]byte{10, 77, 0, byte(end.pid + 1)}),
			PublicKey: end.at.PublicKey, PSK: psk, Certificate: end.at.Certificate,
			Candidates: []candidate{{"host", netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), end.at.Port)}},
		}
		group.Go(func() {
			if _, err := end.of.setPeer(command); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	for deadline := time.Now().Add(10 * time.Second); !first.has(`"event":"up"`) || !second.has(`"event":"up"`); {
		if time.Now().After(deadline) {
			t.Fatalf("not up\n%s\n%s", first.said.String(), second.said.String())
		}
		time.Sleep(10 * time.Millisecond)
	}
}
