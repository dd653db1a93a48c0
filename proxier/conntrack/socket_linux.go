package conntrack

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// socket is a netlink socket. It belongs to the namespace in which it was made, whatever the thread that uses it.
type socket struct {
	fd  int
	seq uint32 // of the last request
	buf []byte
}

func openSocket() (socket, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
	if err != nil {
		return socket{}, unsupported(err)
	}
	s := socket{fd: fd}
	if err := s.prepare(); err != nil {
		_ = s.close()
		return socket{}, err
	}
	return s, nil
}

func (s *socket) prepare() error {
	if err := unix.Bind(s.fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	// An answer does not repeat the request. Before kernel 4.3 it does, and is only larger.
	_ = unix.SetsockoptInt(s.fd, unix.SOL_NETLINK, unix.NETLINK_CAP_ACK, 1)
	return unix.SetsockoptTimeval(s.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: patience})
}

func (s *socket) close() error { return unix.Close(s.fd) }

// send sends what write appends, and returns the number of the request.
func (s *socket) send(write func(b []byte, seq uint32) []byte) (uint32, error) {
	s.seq++
	s.buf = write(s.buf[:0], s.seq)
	to := &unix.SockaddrNetlink{Family: unix.AF_NETLINK}
	return s.seq, again(func() error { return unix.Sendto(s.fd, s.buf, 0, to) })
}

// receive waits for messages of the kernel.
func (s *socket) receive(buf []byte, flags int) ([]byte, error) {
	for {
		var n int
		var from unix.Sockaddr
		err := again(func() (err error) { n, from, err = unix.Recvfrom(s.fd, buf, flags); return err })
		if errors.Is(err, unix.EAGAIN) && flags&unix.MSG_DONTWAIT == 0 {
			return nil, fmt.Errorf("no answer of the kernel within %d s", patience)
		}
		if err != nil {
			return nil, err
		}
		if nl, ok := from.(*unix.SockaddrNetlink); ok && nl.Pid == 0 {
			return buf[:n], nil // any process may send to our port
		}
	}
}

// count returns how many entries the table has.
func (s *socket) count() (int, error) {
	seq, err := s.send(appendCount)
	if err != nil {
		return 0, err
	}
	var buf [1024]byte
	for {
		rest, err := s.receive(buf[:], 0)
		if err != nil {
			return 0, err
		}
		h, body, _, err := next(rest)
		switch {
		case err != nil:
			return 0, err
		case h.seq != seq:
		case h.kind == unix.NLMSG_ERROR:
			if err := errno(body); err != nil {
				return 0, err
			}
		default:
			return parseCount(body), nil
		}
	}
}

// unanswered is the number of requests that are answered only if they fail.
const unanswered = 0

// delete deletes entries with one call, and waits until all are. Those that are gone are what was wanted.
func (s *socket) delete(batch []Flow) error {
	if len(batch) == 0 {
		return nil
	}
	last := len(batch) - 1
	seq, err := s.send(func(b []byte, seq uint32) []byte {
		for _, f := range batch[:last] {
			b = appendDelete(b, f, 0, unanswered)
		}
		return appendDelete(b, batch[last], unix.NLM_F_ACK, seq)
	})
	if err != nil {
		return err
	}
	return s.answers(seq)
}

// answers reads what the kernel says of the requests up to a number.
func (s *socket) answers(seq uint32) error {
	var failed error
	var buf [4096]byte
	for flags := 0; ; {
		rest, err := s.receive(buf[:], flags)
		switch {
		case errors.Is(err, unix.ENOBUFS): // no room for all answers, perhaps not for the last
			flags = unix.MSG_DONTWAIT
			continue
		case errors.Is(err, unix.EAGAIN):
			return failed
		case err != nil:
			return err
		}
		for len(rest) > 0 {
			var h header
			var body []byte
			if h, body, rest, err = next(rest); err != nil {
				return err
			}
			if h.kind != unix.NLMSG_ERROR || h.seq != unanswered && h.seq != seq {
				continue
			}
			if err := errno(body); err != nil && !errors.Is(err, unix.ENOENT) && failed == nil {
				failed = err
			}
			if h.seq == seq {
				return failed
			}
		}
	}
}

// again repeats a system call that a signal interrupted; the Go runtime sends itself some.
func again(call func() error) error {
	for {
		if err := call(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
