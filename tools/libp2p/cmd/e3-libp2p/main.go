// Command e3-libp2p joins a host to its peers by libp2p and forwards TCP connections to them.
//
//	e3-libp2p key FILE              the peer ID of the key in FILE, which is made if there is none
//	e3-libp2p serve FOLDER KEY      serve the settings in FOLDER, read again at SIGHUP
//	e3-libp2p paths FOLDER          how the node that serves FOLDER reaches each peer, as JSON
//	e3-libp2p version               the version of the settings
package main

import (
	"errors"
	"fmt"
	"os"

	"e3/tools/libp2p/internal/node"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "e3-libp2p:", err)
		os.Exit(1)
	}
}

func run(words []string) error {
	switch {
	case len(words) == 2 && words[0] == "key":
		return node.PrintID(os.Stdout, words[1])
	case len(words) == 3 && words[0] == "serve":
		return node.Serve(words[1], words[2])
	case len(words) == 2 && words[0] == "paths":
		return node.PrintPaths(os.Stdout, words[1])
	case len(words) == 1 && words[0] == "version":
		fmt.Println(node.Version)
		return nil
	}
	return errors.New("say what to do: key FILE, serve FOLDER KEY, paths FOLDER or version")
}
