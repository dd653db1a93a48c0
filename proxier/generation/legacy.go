package generation

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"

	"espalier/proxier/ipproto"
)

// getInfo is IPT_SO_GET_INFO and IP6T_SO_GET_INFO, which x/sys does not have.
const getInfo = 64

// info is struct ipt_getinfo, and struct ip6t_getinfo likewise (linux/netfilter_ipv4/ip_tables.h).
type info struct {
	name       [unix.IFNAMSIZ * 2]byte // XT_TABLE_MAXNAMELEN, 32
	validHooks uint32
	hookEntry  [hooks]uint32
	underflow  [hooks]uint32
	numEntries uint32
	size       uint32
}

const infoSize = unsafe.Sizeof(info{})

// legacySocket asks through a socket of the family. Any will do, the kernel looks only at the privileges
// (net/ipv4/netfilter/ip_tables.c, do_ipt_get_ctl); a datagram socket does not need CAP_NET_RAW.
type legacySocket struct {
	family ipproto.Family
	fd     int
	level  int
	path   string   // of the list of tables
	names  *os.File // belongs to the namespace, as fd does; nil as long as the kernel has no such list
}

func openLegacy(f ipproto.Family) (kernel, error) {
	// Of the thread, not of the process: they differ where a thread entered another namespace.
	s := &legacySocket{family: f, level: unix.SOL_IP, path: "/proc/thread-self/net/ip_tables_names"}
	domain := unix.AF_INET
	if f == ipproto.IPv6 {
		s.level, s.path, domain = unix.SOL_IPV6, "/proc/thread-self/net/ip6_tables_names", unix.AF_INET6
	}
	var err error
	s.fd, err = unix.Socket(domain, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("the kernel has no sockets of the family: %w", err)
	}
	if err := s.allowed(); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *legacySocket) close() error {
	if s.names != nil {
		s.names.Close()
	}
	return unix.Close(s.fd)
}

// allowed finds out whether the kernel would answer, without asking for a table: it looks at the privileges
// first and at the length of the question next.
func (s *legacySocket) allowed() error {
	_, err := s.ask("", 0)
	switch {
	case errors.Is(err, unix.EINVAL):
		return nil
	case errors.Is(err, unix.ENOPROTOOPT): // ip_tables is not loaded; it will be when somebody makes a table
		return nil
	}
	return privilege(err)
}

func (s *legacySocket) read() (Stamp, error) {
	stamp := Stamp{backend: legacy}
	names, err := s.list()
	if err != nil {
		return Stamp{}, err
	}
	for _, t := range tables {
		if !hasLine(names, t.String()) {
			continue
		}
		i, err := s.ask(t.String(), infoSize)
		if err != nil {
			return Stamp{}, fmt.Errorf("table %v: %w", t, privilege(err))
		}
		stamp.sizes[t] = Size{Entries: i.numEntries, Bytes: i.size, Underflow: i.underflow}
	}
	return stamp, nil
}

// list returns the names of the tables that the namespace has, one a line. Without the module of the kernel there
// is no such file, and no table.
func (s *legacySocket) list() ([]byte, error) {
	if s.names != nil {
		names, err := s.reread()
		if err == nil {
			return names, nil
		}
		s.names.Close() // the module was unloaded
		s.names = nil
	}
	var err error
	s.names, err = os.Open(s.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		s.names = nil
		return nil, nil
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("%w: run as root", err)
	case err != nil:
		return nil, err
	}
	return s.reread()
}

func (s *legacySocket) reread() ([]byte, error) {
	if _, err := s.names.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	var buf [256]byte // six names at most
	n, err := s.names.Read(buf[:])
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return buf[:n], nil
}

func hasLine(text []byte, line string) bool {
	for l := range bytes.Lines(text) {
		if string(bytes.TrimSpace(l)) == line {
			return true
		}
	}
	return false
}

// ask is getsockopt(2), for which x/sys has no function that also hands something in.
func (s *legacySocket) ask(table string, size uintptr) (info, error) {
	var i info
	copy(i.name[:], table)
	length := uint32(size)
	err := again(func() error {
		_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(s.fd), uintptr(s.level), getInfo,
			uintptr(unsafe.Pointer(&i)), uintptr(unsafe.Pointer(&length)), 0)
		if errno != 0 {
			return errno
		}
		return nil
	})
	return i, err
}
