package generation

import (
	"encoding/binary"
	"errors"

	"golang.org/x/sys/unix"
)

const (
	// nftNewGen is the type of messages with a generation.
	nftNewGen = unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_NEWGEN
	nftGetGen = unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_GETGEN

	nlmsgHeader = unix.SizeofNlMsghdr
	nfgenHeader = 4      // struct nfgenmsg: family, version, resource id
	nlaTypeMask = 0x3fff // the bits above are flags
)

var errShort = errors.New("the message of the kernel is cut off")

// getGen is the request for the generation. Integers of netlink are in the byte order of the machine.
func getGen(seq uint32) []byte {
	b := make([]byte, 0, nlmsgHeader+nfgenHeader)
	b = binary.NativeEndian.AppendUint32(b, nlmsgHeader+nfgenHeader)
	b = binary.NativeEndian.AppendUint16(b, nftGetGen)
	b = binary.NativeEndian.AppendUint16(b, unix.NLM_F_REQUEST)
	b = binary.NativeEndian.AppendUint32(b, seq)
	b = binary.NativeEndian.AppendUint32(b, 0)                // the kernel fills in the port
	return append(b, unix.AF_UNSPEC, unix.NFNETLINK_V0, 0, 0) // struct nfgenmsg
}

// parseMessage splits a message into what its header says and the rest. An error message of the kernel is
// returned as its errno.
func parseMessage(b []byte) (kind uint16, seq uint32, body []byte, err error) {
	if len(b) < nlmsgHeader {
		return 0, 0, nil, errShort
	}
	size := binary.NativeEndian.Uint32(b)
	kind = binary.NativeEndian.Uint16(b[4:])
	seq = binary.NativeEndian.Uint32(b[8:])
	if size < nlmsgHeader || uint64(size) > uint64(len(b)) {
		return kind, seq, nil, errShort
	}
	body = b[nlmsgHeader:size]
	if kind == unix.NLMSG_ERROR {
		if len(body) < 4 {
			return kind, seq, nil, errShort
		}
		if errno := -int32(binary.NativeEndian.Uint32(body)); errno != 0 {
			return kind, seq, nil, unix.Errno(errno)
		}
	}
	return kind, seq, body, nil
}

// parseGeneration reads the body of an NFT_MSG_NEWGEN.
func parseGeneration(body []byte) (uint32, error) {
	if len(body) < nfgenHeader {
		return 0, errShort
	}
	generation := uint32(0) // which the kernel leaves out when it counts
	for rest := body[nfgenHeader:]; len(rest) >= unix.SizeofNlAttr; {
		size := int(binary.NativeEndian.Uint16(rest))
		kind := binary.NativeEndian.Uint16(rest[2:]) & nlaTypeMask
		if size < unix.SizeofNlAttr || size > len(rest) {
			return 0, errShort
		}
		if value := rest[unix.SizeofNlAttr:size]; kind == unix.NFTA_GEN_ID && len(value) == 4 {
			generation = binary.BigEndian.Uint32(value)
		}
		rest = rest[min(align(size), len(rest)):]
	}
	if generation == 0 {
		return 0, errors.New("the message of the kernel has no generation")
	}
	return generation, nil
}

// align rounds up to where the next attribute begins.
func align(size int) int { return (size + unix.NLA_ALIGNTO - 1) &^ (unix.NLA_ALIGNTO - 1) }
