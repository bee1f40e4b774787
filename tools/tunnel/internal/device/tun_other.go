//go:build !linux

package device

import (
	"errors"
	"net/netip"

	"golang.zx2c4.com/wireguard/tun"
)

// Inside is the argument by which this program starts itself inside of a namespace.
const Inside = "inside-namespace"

var errLinux = errors.New("only Linux has it here; use the mode userspace")

// Namespace exists on Linux only.
type Namespace struct{ Process int }

// Close does nothing.
func (*Namespace) Close() {}

// NewTUN fails: the mode userspace is for all systems.
func NewTUN(string, netip.Prefix, int) (tun.Device, error) { return nil, errLinux }

// NewNamespaceTUN fails: namespaces are Linux's.
func NewNamespaceTUN(int, string, netip.Prefix, int) (tun.Device, *Namespace, error) {
	return nil, nil, errLinux
}

// RunInside fails.
func RunInside([]string) error { return errLinux }
