package lab

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"espalier/proxier/ipproto"
)

// tryTCP connects and reads the answer.
func (l *Lab) tryTCP(p Probe, deadline time.Time) (Observation, error) {
	c, o, err := l.open(p, deadline)
	if err != nil || o.Verdict != Answered {
		return o, err
	}
	c.Close()
	return o, nil
}

// Conn is a TCP connection, or a UDP socket, that stays open.
type Conn struct {
	fd    int
	proto ipproto.Proto
}

// Open connects and keeps the connection, if it was answered.
func (l *Lab) Open(p Probe, patience time.Duration) (*Conn, Observation, error) {
	return l.open(p, time.Now().Add(patience))
}

func (l *Lab) open(p Probe, deadline time.Time) (*Conn, Observation, error) {
	fd, err := l.bound(p.From, unix.SOCK_STREAM, 0, netip.AddrPortFrom(p.Src, 0))
	if err != nil {
		return nil, Observation{}, err
	}
	c := &Conn{fd: fd, proto: ipproto.TCP}
	// Closing with a reset leaves nothing in TIME_WAIT, on either side.
	if err := unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}); err != nil {
		c.Close()
		return nil, Observation{}, err
	}
	err = unix.Connect(fd, sockaddr(p.To))
	if err != nil && !errors.Is(err, unix.EINPROGRESS) {
		c.Close()
		return nil, Observation{}, fmt.Errorf("connect: %w", err)
	}
	o, err := c.await(deadline)
	if err != nil || o.Verdict != Answered {
		c.Close()
		return nil, o, err
	}
	return c, o, nil
}

// Again asks for one more answer on the connection.
func (c *Conn) Again(patience time.Duration) (Observation, error) {
	if _, err := unix.Write(c.fd, []byte("?")); err != nil {
		return Observation{}, fmt.Errorf("ask again: %w", err)
	}
	return c.await(time.Now().Add(patience))
}

// Close ends the connection, that of TCP with a reset.
func (c *Conn) Close() { _ = unix.Close(c.fd) }

// tryUDP sends one datagram and waits for the answer.
func (l *Lab) tryUDP(p Probe, deadline time.Time) (Observation, error) {
	c, err := l.OpenUDP(p)
	if err != nil {
		return Observation{}, err
	}
	defer c.Close()
	return c.ask(deadline)
}

// OpenUDP makes a socket from which one datagram after the other can be sent with Ask.
func (l *Lab) OpenUDP(p Probe) (*Conn, error) {
	fd, err := l.bound(p.From, unix.SOCK_DGRAM, 0, netip.AddrPortFrom(p.Src, 0))
	if err != nil {
		return nil, err
	}
	c := &Conn{fd: fd, proto: ipproto.UDP}
	if err := unix.Connect(fd, sockaddr(p.To)); err != nil {
		c.Close()
		return nil, fmt.Errorf("connect: %w", err)
	}
	return c, nil
}

// Ask sends one datagram and waits for the answer.
func (c *Conn) Ask(patience time.Duration) (Observation, error) {
	return c.ask(time.Now().Add(patience))
}

func (c *Conn) ask(deadline time.Time) (Observation, error) {
	_, err := unix.Write(c.fd, []byte("?"))
	switch {
	case errors.Is(err, unix.EPERM): // a rule of OUTPUT dropped it, or rejects it and the ICMP is on its way
	case errors.Is(err, unix.ECONNREFUSED): // the ICMP was faster
	case err != nil:
		return Observation{}, fmt.Errorf("send: %w", err)
	}
	return c.await(deadline)
}

// await waits for a line or for an error on a connected socket.
func (c *Conn) await(deadline time.Time) (Observation, error) {
	var line []byte
	for {
		ready, err := poll(c.fd, deadline)
		if err != nil || ready == 0 {
			return Observation{}, err
		}
		if ready&unix.POLLERR != 0 {
			o, done, err := c.failure()
			if done || err != nil {
				return o, err
			}
		}
		if ready&(unix.POLLIN|unix.POLLHUP) == 0 {
			continue
		}
		in := make([]byte, 256)
		n, err := unix.Read(c.fd, in)
		switch {
		case errors.Is(err, unix.EAGAIN):
			continue
		case errors.Is(err, unix.ECONNRESET):
			return Observation{Verdict: Reset}, nil
		case err != nil:
			return Observation{}, fmt.Errorf("read answer: %w", err)
		case n == 0:
			return Observation{}, fmt.Errorf("answer ends after %q", line)
		}
		line = append(line, in[:n]...)
		if text, _, whole := bytes.Cut(line, []byte("\n")); whole {
			a, err := parseAnswer(string(text))
			return Observation{Verdict: Answered, Answer: a}, err
		}
	}
}

// failure looks at what the kernel knows about an error of the socket. A queued ICMP message is preferred: it
// arrives at once, while the error that connect would return may wait for the next retransmission, and unlike
// that it tells REJECT from a closed port.
func (c *Conn) failure() (o Observation, done bool, err error) {
	icmp, err := readICMP(c.fd)
	if err != nil {
		return Observation{}, true, err
	}
	if icmp != nil {
		if !icmp.portUnreachable() {
			return Observation{}, true, fmt.Errorf("unexpected %v", *icmp)
		}
		return Observation{Verdict: Refused}, true, nil
	}
	code, err := unix.GetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err != nil {
		return Observation{}, true, fmt.Errorf("ask for error of socket: %w", err)
	}
	switch errno := unix.Errno(code); {
	case errno == 0:
		return Observation{}, false, nil
	case errno == unix.ECONNRESET, errno == unix.ECONNREFUSED && c.proto == ipproto.TCP:
		return Observation{Verdict: Reset}, true, nil
	default:
		return Observation{}, true, fmt.Errorf("socket: %w", errno)
	}
}

// poll waits until the socket is readable or has an error; zero means that the deadline came first. An
// interrupted wait goes on.
func poll(fd int, deadline time.Time) (int16, error) {
	for {
		left := time.Until(deadline)
		if left <= 0 {
			return 0, nil
		}
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := unix.Poll(fds, int(left.Milliseconds())+1)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return 0, fmt.Errorf("poll: %w", err)
		case n > 0:
			return fds[0].Revents, nil
		}
	}
}

func isClosed(err error) bool { return errors.Is(err, net.ErrClosed) }
