// Command e3-tunnel carries the traffic of a session between parties, or relays it.
//
//	e3-tunnel party      one party's end: commands on standard input, events on standard output
//	e3-tunnel relay      a relay and server of STUN, driven in the same way
//	e3-tunnel version    the version of that control
package main

import (
	"fmt"
	"os"

	"e3/tools/tunnel/internal/device"
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
	case "version":
		fmt.Println(party.Version)
		return nil
	case device.Inside:
		return device.RunInside(arguments[1:])
	}
	return fmt.Errorf("say what to do: party, relay or version")
}
