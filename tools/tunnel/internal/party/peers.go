package party

import (
	"bufio"
	"encoding/hex"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.zx2c4.com/wireguard/device"
)

const (
	keepaliveSeconds = 25
	confirmSeconds   = 1                      // between keepalives of a new tunnel
	confirmFor       = 10 * time.Second       // for one of them to arrive
	lookEvery        = 20 * time.Millisecond  // whether a handshake is done
	handshakeSpare   = 100 * time.Millisecond // for an answer, besides two round trips
	handshakeAgain   = time.Second            // at most; WireGuard itself waits for 5 s
	handshakeTries   = 13
)

// tunnel is a peer as WireGuard knows it.
type tunnel struct {
	pid       int
	public    []byte
	psk       []byte
	address   netip.Addr
	initiates bool // this side begins the first handshake
	added     bool
	up        bool
	watched   bool
}

// peers are the tunnels of a device.
//
// WireGuard repeats a handshake that was lost after 5 s only. So the side that answers knows its
// peer from the beginning, and the other one begins once there is a path, and again after two round
// trips, then less and less often: what came before the other side had checked that path is lost.
// To the side that answers, the handshake is done only when a first packet has come, and what comes
// by a path that it has not checked yet is lost: the other one sends several.
type peers struct {
	mutex     sync.Mutex
	wireguard *device.Device
	known     map[int]*tunnel
	up        func(pid int)
	done      chan struct{}
}

func newPeers(wireguard *device.Device, up func(int)) *peers {
	return &peers{wireguard: wireguard, known: map[int]*tunnel{}, up: up, done: make(chan struct{})}
}

func (p *peers) close() {
	close(p.done)
	p.wireguard.Close()
}

// set adds a tunnel; one that exists with the same keys stays as it is.
func (p *peers) set(wanted tunnel) error {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	before := p.known[wanted.pid]
	if before != nil && string(before.public) == string(wanted.public) && string(before.psk) == string(wanted.psk) {
		return nil
	}
	if before != nil && before.added {
		if err := p.wireguard.IpcSet(before.removal()); err != nil {
			return err
		}
	}
	p.known[wanted.pid] = &wanted
	if wanted.initiates {
		return nil
	}
	return p.add(&wanted)
}

func (p *peers) remove(pid int) error {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	one := p.known[pid]
	delete(p.known, pid)
	if one == nil || !one.added {
		return nil
	}
	return p.wireguard.IpcSet(one.removal())
}

// reached begins the first handshake with a peer to which there is a path of this round trip now.
func (p *peers) reached(pid int, rtt time.Duration) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	one := p.known[pid]
	if one == nil || one.up {
		return
	}
	if !one.added && p.add(one) != nil {
		return
	}
	if !one.watched {
		one.watched = true
		go p.watch(one, min(2*rtt+handshakeSpare, handshakeAgain))
	}
}

// watch waits for the first handshake, and begins it again where it is this side's to begin: after
// the time `again`, then after twice that, and so on.
func (p *peers) watch(one *tunnel, again time.Duration) {
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	began, tries := time.Now(), 1
	for {
		select {
		case <-p.done:
			return
		case <-ticker.C:
		}
		ages, err := p.ages()
		p.mutex.Lock()
		if err != nil || p.known[one.pid] != one {
			p.mutex.Unlock()
			return
		}
		if _, shaken := ages[one.pid]; shaken {
			one.up = true
			p.mutex.Unlock()
			p.up(one.pid)
			if one.initiates {
				p.confirm(one)
			}
			return
		}
		if one.initiates && time.Since(began) > again && tries < handshakeTries {
			began, tries, again = time.Now(), tries+1, min(2*again, handshakeAgain)
			if p.wireguard.IpcSet(one.removal()) != nil || p.add(one) != nil {
				p.mutex.Unlock()
				return
			}
		}
		p.mutex.Unlock()
	}
}

// confirm lets the keepalives of a new tunnel become rare, once its peer has had time to get one.
func (p *peers) confirm(one *tunnel) {
	select {
	case <-p.done:
		return
	case <-time.After(confirmFor):
	}
	p.mutex.Lock()
	defer p.mutex.Unlock()
	if p.known[one.pid] == one {
		// an error means that the device is closed
		_ = p.wireguard.IpcSet(fmt.Sprintf(
			"public_key=%x\nupdate_only=true\npersistent_keepalive_interval=%d\n", one.public, keepaliveSeconds,
		))
	}
}

func (p *peers) add(one *tunnel) error {
	one.added = true
	keepalive := 0
	if one.initiates {
		keepalive = confirmSeconds
	}
	return p.wireguard.IpcSet(fmt.Sprintf(
		"public_key=%x\npreshared_key=%x\nendpoint=%x\nallowed_ip=%s/32\npersistent_keepalive_interval=%d\n",
		one.public, one.psk, one.public, one.address, keepalive,
	))
}

func (t *tunnel) removal() string { return fmt.Sprintf("public_key=%x\nremove=true\n", t.public) }

// ages returns how long ago WireGuard's last handshake was, of the peers that had one.
func (p *peers) ages() (map[int]time.Duration, error) {
	said, err := p.wireguard.IpcGet()
	if err != nil {
		return nil, err
	}
	p.mutex.Lock()
	defer p.mutex.Unlock()
	pids := map[string]int{}
	for pid, one := range p.known {
		pids[hex.EncodeToString(one.public)] = pid
	}
	ages, current, now := map[int]time.Duration{}, -1, time.Now()
	scanner := bufio.NewScanner(strings.NewReader(said))
	for scanner.Scan() {
		key, value, _ := strings.Cut(scanner.Text(), "=")
		switch key {
		case "public_key":
			pid, known := pids[value]
			if current = pid; !known {
				current = -1
			}
		case "last_handshake_time_sec":
			seconds, err := strconv.ParseInt(value, 10, 64)
			if err == nil && seconds > 0 && current >= 0 {
				ages[current] = max(now.Sub(time.Unix(seconds, 0)), 0)
			}
		}
	}
	return ages, scanner.Err()
}
