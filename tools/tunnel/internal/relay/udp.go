package relay

import (
	"net/netip"
	"time"

	"github.com/pion/stun/v3"
	"golang.zx2c4.com/wireguard/conn"

	"e3/tools/tunnel/internal/wire"
)

const bufferBytes = 1<<16 - 1

// ListenUDP answers STUN and forwards frames at a port, 0 for any; it returns the port.
func (r *Relay) ListenUDP(port uint16) (uint16, error) {
	socket := conn.NewStdNetBind().(*conn.StdNetBind)
	fns, actual, err := socket.Open(port)
	if err != nil {
		return 0, err
	}
	r.sockets = append(r.sockets, socket)
	for _, fn := range fns {
		go r.receive(socket, fn)
	}
	return actual, nil
}

// outgoing is what goes to one side next: frames that came one after another for it.
type outgoing struct {
	to      *side
	packets [][]byte
	bytes   int
}

func (r *Relay) receive(socket *conn.StdNetBind, fn conn.ReceiveFunc) {
	count := socket.BatchSize()
	buffers, sizes := make([][]byte, count), make([]int, count)
	endpoints := make([]conn.Endpoint, count)
	for i := range buffers {
		buffers[i] = make([]byte, bufferBytes)
	}
	var out outgoing
	for {
		got, err := fn(buffers, sizes, endpoints)
		if err != nil {
			select {
			case <-r.done:
				return
			case <-time.After(time.Millisecond): // such as an error of ICMP: others go on
				continue
			}
		}
		now := time.Now()
		for i := range got {
			from, good := endpoints[i].(*conn.StdNetEndpoint)
			if sizes[i] == 0 || !good {
				continue
			}
			packet := buffers[i][:sizes[i]]
			switch wire.Classify(packet) {
			case wire.Frame:
				r.collect(&out, packet, normal(from.AddrPort), now)
			case wire.STUN:
				r.answer(socket, packet, from, now)
			}
		}
		r.flush(&out, now)
	}
}

// collect adds a frame to what goes out, if it is of a side that is known.
func (r *Relay) collect(out *outgoing, packet []byte, from netip.AddrPort, now time.Time) {
	channel, payload := wire.ReadFrame(packet)
	if payload == nil {
		return
	}
	r.mutex.RLock()
	source := r.places[place{from, channel}]
	var to *side
	if source != nil && source.other.to != nil {
		to = source.other
		wire.SetChannel(packet, to.at.channel)
	}
	r.mutex.RUnlock()
	if to == nil {
		r.counted.dropped.Add(1)
		return
	}
	if out.to != to {
		r.flush(out, now)
		out.to = to
	}
	out.packets = append(out.packets, packet)
	out.bytes += len(packet)
}

// flush sends what was collected, as far as the grant allows.
func (r *Relay) flush(out *outgoing, now time.Time) {
	if len(out.packets) > 0 {
		r.mutex.RLock()
		socket, endpoint := out.to.socket, out.to.to
		r.mutex.RUnlock()
		if endpoint != nil && out.to.grant.spend(out.bytes, now) && socket.Send(out.packets, endpoint) == nil {
			r.counted.forwarded.Add(uint64(out.bytes))
		} else {
			r.counted.dropped.Add(uint64(len(out.packets)))
		}
	}
	out.to, out.packets, out.bytes = nil, out.packets[:0], 0
}

// answer answers a request by UDP.
func (r *Relay) answer(socket *conn.StdNetBind, packet []byte, from *conn.StdNetEndpoint, now time.Time) {
	source := normal(from.AddrPort)
	if !r.guard.request(source.Addr(), now) {
		return
	}
	message, err := wire.Decode(packet)
	if err != nil || message.Type.Class != stun.ClassRequest {
		return
	}
	var response *stun.Message
	switch message.Type.Method {
	case stun.MethodBinding:
		r.counted.bindings.Add(1)
		response, err = stun.Build(
			stun.NewTransactionIDSetter(message.TransactionID), stun.BindingSuccess, wire.Mapped(source),
		)
	case stun.MethodChannelBind:
		var bound *side
		if bound, response, err = r.authorise(message, source, now); bound != nil {
			r.bind(bound, place{source, wire.ChannelIn(message)}, socket, from)
		}
	}
	if err == nil && response != nil {
		_ = socket.Send([][]byte{response.Raw}, from)
	}
}

// authorise returns the side whose token a request shows, and the answer in any case.
func (r *Relay) authorise(
	message *stun.Message, source netip.AddrPort, now time.Time,
) (*side, *stun.Message, error) {
	if wire.ChannelIn(message) == 0 {
		refused, err := wire.Refused(message, stun.CodeBadRequest, "")
		return nil, refused, err
	}
	fresh := r.nonce(source, now, 0)
	nonce := wire.NonceIn(message)
	if nonce == "" {
		refused, err := wire.Refused(message, stun.CodeUnauthorized, fresh)
		return nil, refused, err
	}
	if !r.fresh(nonce, source, now) {
		refused, err := wire.Refused(message, stun.CodeStaleNonce, fresh)
		return nil, refused, err
	}
	r.mutex.RLock()
	found := r.names[wire.Username(message)]
	r.mutex.RUnlock()
	if found == nil || now.After(found.grant.Expires) || !found.token.Authentic(message) {
		refused, err := wire.Refused(message, stun.CodeUnauthorized, fresh)
		return nil, refused, err
	}
	response, err := found.token.Bound(message)
	return found, response, err
}

// bind notes from where a side's frames come and where they go.
func (r *Relay) bind(bound *side, at place, socket *conn.StdNetBind, to *conn.StdNetEndpoint) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	if r.names[bound.token.Name()] != bound {
		return
	}
	delete(r.places, bound.at)
	if before := r.places[at]; before != nil {
		before.to = nil // its owner has given its channel to another side
	}
	bound.at, bound.socket, bound.to = at, socket, to
	r.places[at] = bound
}

func normal(address netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(address.Addr().Unmap().WithZone(""), address.Port())
}
