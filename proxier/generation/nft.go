package generation

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// nftSocket asks over one netlink socket, which stays open: it belongs to the namespace in which it was made,
// whatever the thread that uses it, and it costs nothing while nobody asks.
type nftSocket struct {
	fd  int
	seq uint32 // of the last question
}

// patience is how long an answer may take, in seconds. It is there before the question has been sent, so that
// only a kernel that answers nothing takes it.
const patience = 1

func openNFT() (kernel, error) {
	fd, err := netlinkSocket()
	if err != nil {
		return nil, err
	}
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: patience}); err != nil {
		unix.Close(fd)
		return nil, err
	}
	return &nftSocket{fd: fd}, nil
}

func netlinkSocket() (int, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
	if err != nil {
		return -1, fmt.Errorf("the kernel has no netlink socket for netfilter: %w", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

func (s *nftSocket) close() error { return unix.Close(s.fd) }

// read asks again if the socket had no room for the answer: the error says so once and is gone.
func (s *nftSocket) read() (Stamp, error) {
	n, err := s.ask()
	if errors.Is(err, unix.ENOBUFS) {
		s.drain()
		n, err = s.ask()
	}
	switch {
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.EOPNOTSUPP):
		return Stamp{}, fmt.Errorf("%w: the kernel has no nf_tables, or did not load it", err)
	case err != nil:
		return Stamp{}, privilege(err)
	}
	return Stamp{backend: nft, generation: n}, nil
}

// drain throws away what is in the socket.
func (s *nftSocket) drain() {
	var buf [1]byte
	for range 1 << 16 { // far more than there is room for
		_, _, err := unix.Recvfrom(s.fd, buf[:], unix.MSG_DONTWAIT)
		if errors.Is(err, unix.EAGAIN) {
			return
		}
	}
}

func (s *nftSocket) ask() (uint32, error) {
	s.seq++
	to := &unix.SockaddrNetlink{Family: unix.AF_NETLINK}
	if err := again(func() error { return unix.Sendto(s.fd, getGen(s.seq), 0, to) }); err != nil {
		return 0, err
	}
	var buf [1024]byte // an answer has 56 bytes
	for {
		var n int
		var from unix.Sockaddr
		err := again(func() (err error) { n, from, err = unix.Recvfrom(s.fd, buf[:], 0); return err })
		if errors.Is(err, unix.EAGAIN) {
			return 0, fmt.Errorf("no answer of the kernel within %d s", patience)
		}
		if err != nil {
			return 0, err
		}
		if !fromKernel(from) {
			continue // any process may send to our port
		}
		kind, seq, body, err := parseMessage(buf[:n])
		if seq != s.seq {
			continue // the answer to a question that was given up
		}
		if err != nil {
			return 0, err
		}
		if kind == nftNewGen {
			return parseGeneration(body)
		}
	}
}

func fromKernel(from unix.Sockaddr) bool {
	nl, ok := from.(*unix.SockaddrNetlink)
	return ok && nl.Pid == 0
}

// again repeats a system call that a signal interrupted; the Go runtime sends itself some.
func again(call func() error) error {
	for {
		if err := call(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// privilege adds to a refusal what is missing.
func privilege(err error) error {
	if errors.Is(err, unix.EPERM) {
		return fmt.Errorf("%w: it needs CAP_NET_ADMIN; run as root", err)
	}
	return err
}
