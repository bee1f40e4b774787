package party

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"e3/tools/tunnel/forward"
	devices "e3/tools/tunnel/internal/device"
)

const maxForwarders = 2048

var errKernel = errors.New("only the modes userspace and tls forward; in the others programs use the device itself")

// dial lets a local port stand for a port of a peer.
func (p *party) dial(c dialCommand) (any, error) {
	address, known := p.addresses[c.PID]
	switch {
	case p.ports == nil:
		return nil, errKernel
	case !known:
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
	to := netip.AddrPortFrom(address, c.Port)
	forwarder := forward.Start(listener, func(ctx context.Context, _ net.Conn) (forward.Connection, error) {
		return p.ports.dial(ctx, c.PID, to)
	})
	return answer{Event: "done", ID: c.ID, Local: p.keep(forwarder)}, nil
}

// serve lets a port of the tunnel stand for a local port.
func (p *party) serve(c serveCommand) (any, error) {
	switch {
	case p.ports == nil:
		return nil, errKernel
	case !c.Local.Addr().IsLoopback() || c.Local.Port() == 0:
		return nil, fmt.Errorf("local %s is not a port of a loopback address", c.Local)
	case c.Port == 0:
		return nil, errors.New("port 0 is none of the tunnel")
	case len(p.forwarders) >= maxForwarders:
		return nil, fmt.Errorf("there are %d forwarders already", maxForwarders)
	}
	sources, err := p.sourcesOf(c.Sources)
	if err != nil {
		return nil, err
	}
	listener, err := p.ports.listen(c.Port)
	if err != nil {
		return nil, err
	}
	p.keep(forward.Start(listener, func(ctx context.Context, from net.Conn) (forward.Connection, error) {
		var dialer net.Dialer
		if sources != nil {
			peer, _ := netip.ParseAddrPort(from.RemoteAddr().String())
			source, known := sources[peer.Addr().Unmap()]
			if !known {
				return nil, forward.ErrRefused
			}
			dialer.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(source, 0))
		}
		return dialer.DialContext(ctx, "tcp", c.Local.String())
	}))
	return answer{Event: "done", ID: c.ID, Local: c.Local.String()}, nil
}

// sourcesOf returns the local address from which each peer's connections come, by its address in
// the tunnel, which its key or its certificate has proven; nil if none are wanted.
func (p *party) sourcesOf(wanted []source) (map[netip.Addr]netip.Addr, error) {
	if len(wanted) == 0 {
		return nil, nil
	}
	sources := map[netip.Addr]netip.Addr{}
	for _, each := range wanted {
		address, known := p.addresses[each.PID]
		if !known {
			return nil, fmt.Errorf("pid %d is no peer", each.PID)
		}
		if !each.Address.IsLoopback() {
			return nil, fmt.Errorf("source %s is not a loopback address", each.Address)
		}
		sources[address] = each.Address
	}
	return sources, nil
}

// stackPorts are those of the TCP stack in this program.
type stackPorts struct{ stack *devices.Stack }

func (s stackPorts) dial(ctx context.Context, _ int, to netip.AddrPort) (forward.Connection, error) {
	return s.stack.Dial(ctx, to)
}

func (s stackPorts) listen(port uint16) (net.Listener, error) { return s.stack.Listen(port) }
