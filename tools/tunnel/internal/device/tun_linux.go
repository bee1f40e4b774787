package device

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/tun"
)

// Inside is the argument by which this program starts itself inside of a namespace.
const Inside = "inside-namespace"

const (
	tunPath    = "/dev/net/tun"
	handoverFD = 3
)

// It is long on a loaded machine; whoever drives this program waits 20 s for an answer.
const handoverFor = 18 * time.Second

// NewTUN returns a TUN device of the kernel in this network namespace, with that address.
func NewTUN(name string, address netip.Prefix, mtu int) (tun.Device, error) {
	file, err := openTUN(name, address, mtu)
	if err != nil {
		return nil, err
	}
	return fromFile(file, mtu)
}

// openTUN creates the device, gives it its address and starts it.
func openTUN(name string, address netip.Prefix, mtu int) (int, error) {
	file, err := unix.Open(tunPath, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("%s: %w", tunPath, err)
	}
	request, err := unix.NewIfreq(name)
	if err == nil {
		request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
		err = unix.IoctlIfreq(file, unix.TUNSETIFF, request)
	}
	if err == nil {
		err = start(name, address, mtu)
	}
	if err != nil {
		_ = unix.Close(file)
		return -1, fmt.Errorf("the TUN device %s: %w", name, err)
	}
	return file, nil
}

// start gives an interface address and MTU, and brings it up.
func start(name string, address netip.Prefix, mtu int) error {
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(socket) }()
	mask := net.CIDRMask(address.Bits(), address.Addr().BitLen())
	steps := []struct {
		call uint
		set  func(*unix.Ifreq) error
	}{
		{unix.SIOCSIFADDR, func(r *unix.Ifreq) error { return r.SetInet4Addr(address.Addr().AsSlice()) }},
		{unix.SIOCSIFNETMASK, func(r *unix.Ifreq) error { return r.SetInet4Addr(mask) }},
		{unix.SIOCSIFMTU, func(r *unix.Ifreq) error { r.SetUint32(uint32(mtu)); return nil }},
		{unix.SIOCSIFFLAGS, func(r *unix.Ifreq) error {
			r.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
			return nil
		}},
	}
	for _, step := range steps {
		request, err := unix.NewIfreq(name)
		if err != nil {
			return err
		}
		if err := step.set(request); err != nil {
			return err
		}
		if err := unix.IoctlIfreq(socket, step.call, request); err != nil {
			return err
		}
	}
	return nil
}

func fromFile(file, mtu int) (tun.Device, error) {
	device, _, err := tun.CreateUnmonitoredTUNFromFD(file)
	if err != nil {
		return nil, err
	}
	return sized{device, mtu}, nil
}

// sized is a device whose MTU is known: its interface may be in another namespace.
type sized struct {
	tun.Device
	mtu int
}

func (s sized) MTU() (int, error) { return s.mtu, nil }

// Namespace is a user and network namespace with a TUN device, as long as Process lives.
type Namespace struct {
	Process int
	command *exec.Cmd
	end     *os.File
}

// NewNamespaceTUN returns a TUN device in a namespace where this user has the rights for it.
//
// Without a target a new namespace is made, of which the user is root; else the one of that
// process is entered, which must be the user's. Sockets of this process stay outside.
func NewNamespaceTUN(target int, name string, address netip.Prefix, mtu int) (tun.Device, *Namespace, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, err
	}
	ours, theirs := os.NewFile(uintptr(pair[0]), "handover"), os.NewFile(uintptr(pair[1]), "handover")
	command := inside(target, name, address, mtu)
	command.ExtraFiles = []*os.File{theirs}
	var said bytes.Buffer // not this program's own output, which its driver reads
	command.Stderr = &said
	err = command.Start()
	_ = theirs.Close() // so that the end of the process inside ends what it says
	if err != nil {
		_ = ours.Close()
		return nil, nil, fmt.Errorf("no namespace: %w", err)
	}
	namespace := &Namespace{Process: command.Process.Pid, command: command, end: ours}
	device, err := receive(ours, mtu)
	if err == nil {
		return device, namespace, nil
	}
	_ = command.Process.Kill() // it may be late
	namespace.Close()
	if why := strings.TrimSpace(said.String()); why != "" {
		err = errors.New(why)
	}
	return nil, nil, fmt.Errorf("no TUN device in the namespace: %w", err)
}

func inside(target int, name string, address netip.Prefix, mtu int) *exec.Cmd {
	arguments := []string{Inside, name, address.String(), strconv.Itoa(mtu)}
	if target == 0 {
		command := exec.Command("/proc/self/exe", arguments...)
		command.SysProcAttr = &syscall.SysProcAttr{
			Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET,
			UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
			GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
		}
		return command
	}
	enter := []string{"--target", strconv.Itoa(target), "--user", "--net", "--preserve-credentials", "--"}
	program, err := os.Executable()
	if err != nil {
		program = "/proc/self/exe"
	}
	return exec.Command("nsenter", append(append(enter, program), arguments...)...)
}

// receive takes the device that the process inside has made.
func receive(from *os.File, mtu int) (tun.Device, error) {
	connection, err := net.FileConn(from)
	if err != nil {
		return nil, err
	}
	defer func() { _ = connection.Close() }()
	_ = connection.SetDeadline(time.Now().Add(handoverFor))
	made, control := make([]byte, 4), make([]byte, unix.CmsgSpace(4))
	_, length, _, _, err := connection.(*net.UnixConn).ReadMsgUnix(made, control)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return nil, fmt.Errorf("none for %s", handoverFor)
	}
	if err != nil {
		return nil, err
	}
	messages, err := unix.ParseSocketControlMessage(control[:length])
	if err != nil || len(messages) != 1 {
		return nil, errors.New("no descriptor came")
	}
	files, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(files) != 1 {
		return nil, errors.New("no descriptor came")
	}
	unix.CloseOnExec(files[0])
	return fromFile(files[0], mtu)
}

// Close lets the process inside end, and with it a namespace that nobody else is in.
func (n *Namespace) Close() {
	_ = n.end.Close()
	_ = n.command.Wait()
}

// RunInside is what the process inside does: it makes the device, hands it over, and waits.
func RunInside(arguments []string) error {
	connection := os.NewFile(handoverFD, "handover")
	if len(arguments) != 3 {
		return errors.New("this is for the program itself")
	}
	address, err := netip.ParsePrefix(arguments[1])
	if err != nil {
		return err
	}
	mtu, err := strconv.Atoi(arguments[2])
	if err != nil {
		return err
	}
	file, err := prepare(arguments[0], address, mtu)
	if err != nil {
		return err
	}
	// the descriptor of the connection keeps blocking mode: sendmsg(2) by itself
	if err := unix.Sendmsg(handoverFD, []byte("made"), unix.UnixRights(file), nil, 0); err != nil {
		return err
	}
	_ = unix.Close(file)
	_, _ = connection.Read(make([]byte, 1)) // until the other end is closed, however its process ends
	return nil
}

func prepare(name string, address netip.Prefix, mtu int) (int, error) {
	loopback := netip.MustParsePrefix("127.0.0.1/8")
	if err := start("lo", loopback, 65536); err != nil {
		return -1, fmt.Errorf("the loopback interface: %w", err)
	}
	return openTUN(name, address, mtu)
}
