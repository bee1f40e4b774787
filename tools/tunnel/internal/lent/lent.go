// Package lent has connections that are lent: the lender is told when they are closed.
package lent

import (
	"net"
	"sync"
)

// Conn is a connection whose end can be awaited.
type Conn struct {
	net.Conn
	done chan struct{}
	once sync.Once
}

// New lends a connection.
func New(connection net.Conn) *Conn { return &Conn{Conn: connection, done: make(chan struct{})} }

// Done is closed with the connection.
func (c *Conn) Done() <-chan struct{} { return c.done }

// Close gives the connection back, closed.
func (c *Conn) Close() error {
	c.once.Do(func() { close(c.done) })
	return c.Conn.Close()
}

// CloseWrite says that no more comes, where the connection can say that.
func (c *Conn) CloseWrite() error {
	if half, can := c.Conn.(interface{ CloseWrite() error }); can {
		return half.CloseWrite()
	}
	return nil
}
