package generation

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// announced is the body of an announcement as kernel 6.18 sent it, of iptables-nft-restore.
const announced = "00000005" + // struct nfgenmsg
	"0800010000000005" + "080002000000093f" + "14000300" + "69707461626c65732d6e66742d726500"

func TestParseGeneration(t *testing.T) {
	for _, tc := range []struct {
		name, body string
		want       uint32
		err        string
	}{
		{"as the kernel sends it", announced, 5, ""},
		{"of a kernel that says no more", announced[:24], 5, ""},
		{"with an attribute not known yet", "00000000" + "05000900ff000000" + announced[8:], 5, ""},
		{"with the flag of nested attributes", "00000000" + "0800018000000005", 5, ""},
		{"without a generation", "00000000" + "080002000000093f", 0, "no generation"},
		{"nothing", "", 0, "cut off"},
		{"an attribute longer than the rest", "00000000" + "09000100" + "00000005", 0, "cut off"},
		{"an attribute shorter than its header", "00000000" + "00000100" + "00000005", 0, "cut off"},
	} {
		body, err := hex.DecodeString(tc.body)
		if err != nil {
			t.Fatal(err)
		}
		if binary.NativeEndian.Uint16([]byte{1, 0}) != 1 {
			t.Skip("the messages were captured on a little-endian machine")
		}
		got, err := parseGeneration(body)
		if got != tc.want || (err == nil) != (tc.err == "") || err != nil && !strings.Contains(err.Error(), tc.err) {
			t.Errorf("%s: got %d, %v; want %d, %q", tc.name, got, err, tc.want, tc.err)
		}
	}
}

// message puts a header before a body.
func message(kind uint16, seq uint32, body []byte) []byte {
	b := binary.NativeEndian.AppendUint32(nil, uint32(nlmsgHeader+len(body)))
	b = binary.NativeEndian.AppendUint16(b, kind)
	b = binary.NativeEndian.AppendUint16(b, 0)
	b = binary.NativeEndian.AppendUint32(b, seq)
	b = binary.NativeEndian.AppendUint32(b, 0)
	return append(b, body...)
}

func TestParseMessage(t *testing.T) {
	refused := binary.NativeEndian.AppendUint32(nil, ^uint32(unix.EPERM)+1)
	whole := message(nftNewGen, 3, []byte{0, 0, 0, 0})
	for _, tc := range []struct {
		name string
		in   []byte
		want error
	}{
		{"an answer", whole, nil},
		{"an acknowledgement", message(unix.NLMSG_ERROR, 3, make([]byte, 20)), nil},
		{"a refusal", message(unix.NLMSG_ERROR, 3, refused), unix.EPERM},
		{"a refusal without a number", message(unix.NLMSG_ERROR, 3, nil), errShort},
		{"cut off in the body", whole[:len(whole)-1], errShort},
		{"cut off in the header", whole[:nlmsgHeader-1], errShort},
	} {
		_, seq, _, err := parseMessage(tc.in)
		if !errors.Is(err, tc.want) || len(tc.in) >= nlmsgHeader && seq != 3 {
			t.Errorf("%s: number %d, error %v; want number 3, error %v", tc.name, seq, err, tc.want)
		}
	}
	if kind, seq, body, err := parseMessage(getGen(9)); kind != nftGetGen || seq != 9 || len(body) != nfgenHeader || err != nil {
		t.Errorf("our own request reads as type %#x, number %d, %d bytes, error %v", kind, seq, len(body), err)
	}
}

// FuzzParse: no message makes the parser read outside of it.
func FuzzParse(f *testing.F) {
	body, _ := hex.DecodeString(announced)
	f.Add(message(nftNewGen, 1, body))
	f.Add(message(unix.NLMSG_ERROR, 1, body))
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, _, body, err := parseMessage(b); err == nil {
			if n, err := parseGeneration(body); err == nil && n == 0 {
				t.Error("a generation of 0 without an error")
			}
		}
	})
}
