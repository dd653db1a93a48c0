package bed

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"espalier/test/netns/lab"
)

// Reply is what became of a connection.
type Reply struct {
	// By is the endpoint that answered, as it knows itself.
	By netip.AddrPort
	// Took is the time from connect(2) to the peer's SYN ACK.
	Took time.Duration
}

// Patience is how long a connection is waited for: less than the second after which a lost SYN is sent again, so that
// it counts as lost, and more than a busy machine needs.
const Patience = 900 * time.Millisecond

// Dial connects from the client and reads the answer. The error says that nobody answered in time.
func (b *Bed) Dial(to netip.AddrPort) (Reply, error) {
	fd, err := b.clientSocket()
	if err != nil {
		return Reply{}, err
	}
	defer unix.Close(fd)
	deadline := time.Now().Add(Patience)
	start := time.Now()
	err = unix.Connect(fd, &unix.SockaddrInet4{Addr: to.Addr().As4(), Port: int(to.Port())})
	if errors.Is(err, unix.EINPROGRESS) {
		err = await(fd, unix.POLLOUT, deadline)
	}
	if err != nil {
		return Reply{}, fmt.Errorf("connect to %s: %w", to, err)
	}
	r := Reply{Took: time.Since(start)}
	line := make([]byte, 256)
	for n := 0; n < len(line); {
		if err := await(fd, unix.POLLIN, deadline); err != nil {
			return r, fmt.Errorf("read from %s: %w", to, err)
		}
		got, err := unix.Read(fd, line[n:])
		if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || got == 0 {
			return r, fmt.Errorf("read from %s: connection ended: %w", to, err)
		}
		if n += got; bytes.IndexByte(line[:n], '\n') >= 0 {
			r.By, err = answeredBy(line[:n])
			return r, err
		}
	}
	return r, fmt.Errorf("read from %s: no end of line", to)
}

// answeredBy reads the second word of "eps 10.0.0.1:80 10.0.0.2:4711".
func answeredBy(line []byte) (netip.AddrPort, error) {
	words := bytes.Fields(line)
	if len(words) != 3 {
		return netip.AddrPort{}, fmt.Errorf("read answer %q: want three words", line)
	}
	return netip.ParseAddrPort(string(words[1]))
}

// clientSocket makes a socket of the client. Closing it with a reset leaves nothing in TIME_WAIT.
func (b *Bed) clientSocket() (fd int, err error) {
	err = b.lab.Host(lab.Pod).Do(func() error {
		fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		return err
	})
	if err != nil {
		return -1, fmt.Errorf("make socket: %w", err)
	}
	err = errors.Join(
		// With it, also an ICMP message that comes while connect is at work is noticed at once.
		unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_RECVERR, 1),
		unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_TRANSPARENT, 1), // the client's address is only routed to it
		unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1),
		unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}),
		unix.Bind(fd, &unix.SockaddrInet4{Addr: b.Client.As4()}),
	)
	if err != nil {
		_ = unix.Close(fd)
		return -1, fmt.Errorf("prepare socket: %w", err)
	}
	return fd, nil
}

// await waits for an event of a socket and returns its error, if it has one.
func await(fd int, events int16, deadline time.Time) error {
	for {
		left := time.Until(deadline)
		if left <= 0 {
			return unix.ETIMEDOUT
		}
		fds := []unix.PollFd{{Fd: int32(fd), Events: events}}
		n, err := unix.Poll(fds, int(left.Milliseconds())+1)
		if errors.Is(err, unix.EINTR) || err == nil && n == 0 {
			continue
		}
		if err != nil {
			return err
		}
		code, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
		if err != nil {
			return err
		}
		if code != 0 {
			return unix.Errno(code)
		}
		if fds[0].Revents&events == 0 {
			return unix.ECONNREFUSED // an ICMP message that came while connect was at work
		}
		return nil
	}
}
