package node

import (
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"time"
)

const answerTimeout = 5 * time.Second

// path is how a peer is reached: direct, relayed by another one, or none.
type path struct {
	Path      string `json:"path"`
	By        string `json:"by,omitempty"`
	Transport string `json:"transport,omitempty"`
	Security  string `json:"security,omitempty"`
	Exchange  string `json:"exchange,omitempty"` // of keys, as the connection tells
	// Connection names the connection in use: another one has another name.
	Connection string `json:"connection,omitempty"`
}

func (n *Node) paths() map[string]path {
	asked := n.settings.Load()
	found := map[string]path{}
	for _, other := range asked.Peers {
		c := n.best(other.ID)
		if c == nil {
			found[other.Name] = path{Path: "none"}
			continue
		}
		state := c.ConnState()
		said := path{
			Path: "direct", Transport: state.Transport, Security: string(state.Security),
			Exchange: exchangeOf(c), Connection: c.ID(),
		}
		if relayed(c) {
			said.Path = "relayed"
			if id, ok := relayOf(c); ok {
				relay, _ := asked.Other(id)
				said.By = relay.Name
			}
		}
		found[other.Name] = said
	}
	return found
}

// answer gives whoever connects to the socket the paths, as one line of JSON.
func (n *Node) answer(at string) (net.Listener, error) {
	if err := os.Remove(at); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	listener, err := net.Listen("unix", at)
	if err != nil {
		return nil, err
	}
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			_ = connection.SetDeadline(time.Now().Add(answerTimeout))
			_ = json.NewEncoder(connection).Encode(n.paths())
			_ = connection.Close()
		}
	}()
	return listener, nil
}

// PrintPaths prints what the node that serves a folder answers.
func PrintPaths(to io.Writer, folder string) error {
	connection, err := net.DialTimeout("unix", filepath.Join(folder, socketFile), answerTimeout)
	if err != nil {
		return err
	}
	defer connection.Close()
	if err := connection.SetDeadline(time.Now().Add(answerTimeout)); err != nil {
		return err
	}
	_, err = io.Copy(to, connection)
	return err
}
