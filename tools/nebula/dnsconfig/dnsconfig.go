// Package dnsconfig stands in for a module that the module proxy does not serve. It declines to
// touch the host's resolver, as the original does on every system but macOS and Windows.
package dnsconfig

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
)

type BackendKind int

const BackendAuto BackendKind = 0

type Config struct {
	Nameservers   []netip.Addr
	SearchDomains []string
	MatchDomains  []string
}

func (Config) Validate() error { return nil }
func (c Config) IsSplit() bool { return len(c.MatchDomains) > 0 }

type Options struct {
	Identity      string
	InterfaceName string
	Logger        *slog.Logger
	ForceBackend  BackendKind
}

type Manager struct{}

var (
	ErrConfigurationDeclined = errors.New("this build of Nebula does not configure the host's DNS")
	ErrInterfaceRequired     = errors.New("an interface is required")
)

func New(context.Context, Options) (*Manager, error) { return &Manager{}, nil }
func ValidateIdentity(string) error                  { return nil }
func (*Manager) Set(Config) error                    { return ErrConfigurationDeclined }
func (*Manager) Clear() error                        { return nil }
func (*Manager) Close() error                        { return nil }
