// Command e3-tunnel carries the traffic of a session between parties, or relays it.
//
//	e3-tunnel party      one party's end: commands on standard input, events on standard output
//	e3-tunnel relay      a relay and server of STUN, driven in the same way
//	e3-tunnel onions FOLDER SECRETS
//	                     streams over onion services, for the settings in FOLDER; read again at SIGHUP
//	e3-tunnel version    the version of that control
package main

import (
	"errors"
	"fmt"
	"os"

	"e3/tools/tunnel/internal/device"
	"e3/tools/tunnel/internal/onions"
	"e3/tools/tunnel/internal/party"
	"e3/tools/tunnel/internal/relay"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "e3-tunnel:", err)
		os.Exit(1)
	}
}

func run(arguments []string) error {
	verb := ""
	if len(arguments) > 0 {
		verb = arguments[0]
	}
	switch verb {
	case "party":
		return party.Run(os.Stdin, os.Stdout)
	case "relay":
		return relay.Run(os.Stdin, os.Stdout)
	case "onions":
		if len(arguments) != 3 {
			return errors.New("onions needs the folders of its settings and of its secrets")
		}
		return onions.Serve(arguments[1], arguments[2])
	case "version":
		fmt.Printf("%d.%d\n", party.Version, onions.Version)
		return nil
	case device.Inside:
		return device.RunInside(arguments[1:])
	}
	return errors.New("say what to do: party, relay, onions or version")
}
