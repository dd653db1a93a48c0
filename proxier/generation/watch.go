package generation

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A Commit to nf_tables is what the kernel tells of one when it happens.
type Commit struct {
	Generation uint32 // that it made
	// PID is that of the process which committed, as the init namespace of the machine counts. In a container
	// without hostPID it is not what getpid(2) says.
	PID     int
	Program string // its name, cut off after 15 bytes: "iptables-nft-re"
}

// String is for logs: "generation 12 by iptables-nft-re (pid 4711)".
func (c Commit) String() string {
	return fmt.Sprintf("generation %d by %s (pid %d)", c.Generation, c.Program, c.PID)
}

// ErrMissed is what Next returns once after commits that came faster than they were fetched. They are lost; what
// comes next is not.
var ErrMissed = errors.New("commits were missed")

// A Watch hears of every commit to nf_tables in the network namespace in which it was opened, and who made it. It
// is for one goroutine at a time.
//
// It is an addition to a Probe, not a replacement: it can miss commits, and it has its price. With anybody
// listening, the kernel describes each rule and chain of a commit in a message, which made a commit of 10,000
// rules and 5,000 chains 40 ms longer on 2 cores (kernel 6.18); that we look only at the last message of each
// commit saves us the reading, and the socket its space, but not the kernel the writing. So open it after a large
// load.
type Watch struct {
	file *os.File
	conn syscall.RawConn
}

// OpenWatch begins to listen. It needs CAP_NET_ADMIN.
func OpenWatch() (*Watch, error) {
	w, err := openWatch()
	if err != nil {
		return nil, fmt.Errorf("listen for commits to nf_tables: %w", privilege(err))
	}
	return w, nil
}

func openWatch() (*Watch, error) {
	fd, err := netlinkSocket(unix.SOCK_NONBLOCK)
	if err != nil {
		return nil, err
	}
	file := os.NewFile(uintptr(fd), "netlink")
	if err := onlyGenerations(fd); err != nil {
		file.Close()
		return nil, err
	}
	err = unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_ADD_MEMBERSHIP, unix.NFNLGRP_NFTABLES)
	if err != nil {
		file.Close()
		return nil, err
	}
	conn, err := file.SyscallConn()
	if err != nil {
		file.Close()
		return nil, err
	}
	return &Watch{file: file, conn: conn}, nil
}

// onlyGenerations has the kernel drop the messages of other types before they take room in the socket.
func onlyGenerations(fd int) error {
	var kind [2]byte // BPF loads it as the network would send it
	binary.NativeEndian.PutUint16(kind[:], nftNewGen)
	const kindAt = 4 // in struct nlmsghdr
	program := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_H | unix.BPF_ABS, K: kindAt},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: 1, K: uint32(binary.BigEndian.Uint16(kind[:]))},
		{Code: unix.BPF_RET | unix.BPF_K, K: 1 << 16},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0},
	}
	return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
		&unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]})
}

// Close stops listening. A Next that waits returns an error.
func (w *Watch) Close() error { return w.file.Close() }

// Next waits for the next commit of anybody, oneself included. Its error is ErrMissed, that of ctx, or one after
// which the Watch is of no use.
func (w *Watch) Next(ctx context.Context) (Commit, error) {
	stop := context.AfterFunc(ctx, func() { _ = w.file.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	for {
		if err := ctx.Err(); err != nil {
			return Commit{}, err
		}
		c, err := w.receive()
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded): // of this ctx, or of that of an earlier call
			if err := w.file.SetReadDeadline(time.Time{}); err != nil {
				return Commit{}, fmt.Errorf("listen for commits to nf_tables: %w", err)
			}
		case errors.Is(err, unix.ENOBUFS):
			return Commit{}, ErrMissed
		case err != nil:
			return Commit{}, fmt.Errorf("listen for commits to nf_tables: %w", err)
		case c != Commit{}:
			return c, nil
		}
	}
}

// receive takes one message from the socket. Each announcement of a generation is sent by itself. The Commit is
// zero if the message is none.
func (w *Watch) receive() (Commit, error) {
	var buf [1024]byte
	var n int
	var from unix.Sockaddr
	var failed error
	err := w.conn.Read(func(fd uintptr) bool {
		failed = again(func() (err error) { n, from, err = unix.Recvfrom(int(fd), buf[:], 0); return err })
		return !errors.Is(failed, unix.EAGAIN)
	})
	if err := errors.Join(err, failed); err != nil {
		return Commit{}, err
	}
	kind, _, body, err := parseMessage(buf[:n])
	if err != nil || kind != nftNewGen || !fromKernel(from) {
		return Commit{}, err
	}
	return parseGeneration(body)
}
