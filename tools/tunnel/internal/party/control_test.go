package party

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"e3/tools/tunnel/internal/link"
)

var key = base64.StdEncoding.EncodeToString(make([]byte, keyBytes))

func peerLine(more string) string {
	return fmt.Sprintf(
		`{"do":"peer","id":1,"pid":1,"address":"10.77.0.2","public_key":%q,"psk":%q%s}`, key, key, more)
}

func peerOf(line string) (link.PeerConfig, error) {
	command, err := parse[peerCommand]([]byte(line))
	if err != nil {
		return link.PeerConfig{}, err
	}
	config, _, _, err := command.peerConfig(0, make([]byte, keyBytes))
	return config, err
}

func TestWhatAPeerHasSaidIsChecked(t *testing.T) {
	if _, err := peerOf(peerLine("")); err != nil {
		t.Fatal(err)
	}
	many := strings.Repeat(`{"kind":"host","address":"198.18.0.1:1"},`, link.MaxCandidates+1)
	for about, more := range map[string]string{
		"candidates are 33":        `,"candidates":[` + strings.TrimSuffix(many, ",") + `]`,
		"none of host, ipv6":       `,"candidates":[{"kind":"relay","address":"198.18.0.1:1"}]`,
		"none of a host":           `,"candidates":[{"kind":"host","address":"224.0.0.1:1"}]`,
		"address 198.18.0.1:0":     `,"candidates":[{"kind":"host","address":"198.18.0.1:0"}]`,
		"not an ip:port":           `,"candidates":[{"kind":"host","address":"somewhere"}]`,
		"32 hexadecimal digits":    `,"relay":{"token":"abc"}`,
		"SHA-256 in hexadecimal":   `,"certificate":"abc"`,
		"unknown field \"secret\"": `,"secret":1`,
	} {
		if _, err := peerOf(peerLine(more)); err == nil || !strings.Contains(err.Error(), about) {
			t.Errorf("%s: %v", about, err)
		}
	}
}

func TestAnAddressOfIPv4IsOneHoweverItIsWritten(t *testing.T) {
	config, err := peerOf(peerLine(`,"candidates":[{"kind":"host","address":"[::ffff:198.18.0.1]:7"}]`))
	if err != nil || config.Candidates[0].Address.String() != "198.18.0.1:7" {
		t.Errorf("it became %v (%v)", config.Candidates, err)
	}
}

func FuzzPeer(f *testing.F) {
	f.Add(peerLine(`,"candidates":[{"kind":"tcp","address":"[fd00::1]:7"}]`))
	f.Add(peerLine(`,"relay":{"udp":"198.18.0.1:3478","token":"00112233445566778899aabbccddeeff"}`))
	f.Fuzz(func(t *testing.T, line string) {
		config, err := peerOf(line)
		if err == nil && (config.ID < 1 || config.ID > maxPID || len(config.Candidates) > link.MaxCandidates) {
			t.Errorf("%q is taken as %+v", line, config)
		}
	})
}
