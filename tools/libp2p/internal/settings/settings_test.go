package settings

import (
	"strings"
	"testing"
)

const known = `{
	"address": "127.78.0.1", "ports": [11365], "listen": ["/ip4/0.0.0.0/tcp/4001"], "announce": [],
	"security": "tls", "discovery": "list", "hidden": true, "relays": false,
	"peers": [{
		"name": "b", "id": "12D3KooWGRk5vzvEweyfiMYZszn7qsn8pUiYJGQF9VBXbow6d5uJ", "address": "127.78.0.2",
		"addresses": ["/ip4/198.18.0.3/tcp/4001"], "relays": true, "dials": true, "punches": false
	}]
}`

func TestSettingsAreRead(t *testing.T) {
	found, err := parse([]byte(known))
	if err != nil {
		t.Fatal(err)
	}
	if other, ok := found.Other(found.Peers[0].ID); !ok || other.Name != "b" || !other.Relays {
		t.Fatalf("the peer is %+v", other)
	}
	if !found.Hidden || len(found.Listen) != 1 || found.Ports[0] != 11365 {
		t.Fatalf("the settings are %+v", found)
	}
}

func TestWrongSettingsAreRefused(t *testing.T) {
	for name, change := range map[string][2]string{
		"an address that others reach": {"127.78.0.1", "10.0.0.1"},
		"a peer that others reach":     {"127.78.0.2", "198.18.0.9"},
		"no such security":             {`"tls"`, `"none"`},
		"no such discovery":            {`"list"`, `"luck"`},
		"no peer ID":                   {"12D3KooWGRk5", "12D3KooWGRk"},
		"no multiaddress":              {"/ip4/198.18.0.3/tcp/4001", "198.18.0.3:4001"},
		"a port that there is not":     {"11365", "65536"},
		"an unknown field":             {`"hidden"`, `"hiding"`},
	} {
		if _, err := parse([]byte(strings.Replace(known, change[0], change[1], 1))); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}
