package party

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"e3/tools/tunnel/internal/forward"
)

const maxForwarders = 2048

var errKernel = errors.New("only the mode userspace forwards; in the others programs use the device itself")

// dial lets a local port stand for a port of a peer.
func (p *party) dial(c dialCommand) (any, error) {
	one := p.peers.get(c.PID)
	switch {
	case p.stack == nil:
		return nil, errKernel
	case one == nil:
		return nil, fmt.Errorf("pid %d is no peer", c.PID)
	case c.Port == 0:
		return nil, errors.New("port 0 is none of a peer")
	case len(p.forwarders) >= maxForwarders:
		return nil, fmt.Errorf("there are %d forwarders already", maxForwarders)
	}
	listener, err := listenLocal(c.Local)
	if err != nil {
		return nil, err
	}
	to := netip.AddrPortFrom(one.address, c.Port)
	forwarder := forward.Start(listener, func(ctx context.Context) (net.Conn, error) {
		return p.stack.Dial(ctx, to)
	})
	return answer{Event: "done", ID: c.ID, Local: p.keep(forwarder)}, nil
}

// serve lets a port of the tunnel stand for a local port.
func (p *party) serve(c serveCommand) (any, error) {
	switch {
	case p.stack == nil:
		return nil, errKernel
	case !c.Local.Addr().IsLoopback() || c.Local.Port() == 0:
		return nil, fmt.Errorf("local %s is not a port of a loopback address", c.Local)
	case c.Port == 0:
		return nil, errors.New("port 0 is none of the tunnel")
	case len(p.forwarders) >= maxForwarders:
		return nil, fmt.Errorf("there are %d forwarders already", maxForwarders)
	}
	listener, err := p.stack.Listen(c.Port)
	if err != nil {
		return nil, err
	}
	var dialer net.Dialer
	p.keep(forward.Start(listener, func(ctx context.Context) (net.Conn, error) {
		return dialer.DialContext(ctx, "tcp", c.Local.String())
	}))
	return answer{Event: "done", ID: c.ID, Local: c.Local.String()}, nil
}

func (p *peers) get(pid int) *tunnel {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	return p.known[pid]
}
