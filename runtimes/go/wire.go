package hearth

import (
	"encoding/binary"
	"fmt"
	"io"
	"sync"
)

// Frames of the guest protocol: a 12-byte header and at most 64 KiB. Specified in docs/reference/guest-protocol.md.

const (
	headerBytes     = 12
	payloadBytesMax = 65536
	windowBytes     = 262144
	creditStepBytes = 65536
)

const (
	typeHello           = 1
	typeConfigure       = 2
	typeBind            = 3
	typeReady           = 4
	typeInvoke          = 5
	typeHead            = 6
	typeData            = 7
	typeCredit          = 8
	typeEnd             = 9
	typeFail            = 10
	typeIdle            = 11
	typeLog             = 12
	typeOpen            = 13
	typeCancel          = 14
	typePing            = 15
	typePrepareSnapshot = 16
	typeResume          = 17
	typeResumed         = 18
	typeShutdown        = 19
	typeStats           = 22
)

const (
	flagFin  = 1
	flagPong = 1
)

type frame struct {
	kind, flags byte
	stream      uint32
	payload     []byte
}

// A wireError names the rule that a frame broke: type, flags, reserved, stream or length.
type wireError struct {
	rule, text string
}

func (e *wireError) Error() string { return e.text }

// flagBits has, for each type, one bit per value that its flags may have; 0 for a type that does not exist.
var flagBits = [...]byte{
	0, 1, 1, 1, 1, 1, 1, 1<<0 | 1<<1 | 1<<3, 1, 0xf, 0xf, 1, 1<<1 | 1<<2, 1, 1, 3, 1, 1, 1, 1, 0, 0, 3,
}

func isStreamLegal(kind byte, stream uint32) bool {
	isOdd := stream&1 == 1
	switch kind {
	case typeInvoke, typeHead, typeIdle:
		return isOdd
	case typeData, typeCredit, typeEnd, typeCancel:
		return stream != 0
	case typeFail:
		return true
	case typeLog:
		return stream == 0 || isOdd
	case typeOpen:
		return !isOdd && stream != 0
	default:
		return stream == 0
	}
}

// checkHeader returns the payload's length of a header that keeps the rules.
func checkHeader(header []byte) (int, error) {
	kind, flags := header[0], header[1]
	if int(kind) >= len(flagBits) || flagBits[kind] == 0 {
		return 0, &wireError{"type", fmt.Sprintf("Unknown frame type %d.", kind)}
	}
	if flags > 7 || flagBits[kind]&(1<<flags) == 0 {
		return 0, &wireError{"flags", fmt.Sprintf("Type %d with flags %d.", kind, flags)}
	}
	if header[2] != 0 || header[3] != 0 {
		return 0, &wireError{"reserved", "Reserved bytes are set."}
	}
	stream := binary.BigEndian.Uint32(header[4:])
	if !isStreamLegal(kind, stream) {
		return 0, &wireError{"stream", fmt.Sprintf("Type %d on stream %d.", kind, stream)}
	}
	length := binary.BigEndian.Uint32(header[8:])
	isFine := length <= payloadBytesMax
	if kind == typeCredit {
		isFine = length == 4
	} else if kind == typePing {
		isFine = length <= 64
	}
	if !isFine {
		return 0, &wireError{"length", fmt.Sprintf("Type %d of %d bytes.", kind, length)}
	}
	return int(length), nil
}

// readFrame waits for the next frame; io.EOF when the channel ended between two.
func readFrame(source io.Reader) (frame, error) {
	var header [headerBytes]byte
	if _, err := io.ReadFull(source, header[:]); err != nil {
		return frame{}, err
	}
	length, err := checkHeader(header[:])
	if err != nil {
		return frame{}, err
	}
	read := frame{kind: header[0], flags: header[1], stream: binary.BigEndian.Uint32(header[4:])}
	if length > 0 {
		read.payload = make([]byte, length)
		if _, err := io.ReadFull(source, read.payload); err != nil {
			return frame{}, err
		}
	}
	return read, nil
}

// A frameWriter sends whole frames, whichever goroutine they come from.
type frameWriter struct {
	mutex  sync.Mutex
	target io.Writer
	buffer []byte
}

func (w *frameWriter) send(kind, flags byte, stream uint32, payload []byte) error {
	if len(payload) > payloadBytesMax {
		return &wireError{"length", fmt.Sprintf("A frame of %d bytes does not exist.", len(payload))}
	}
	w.mutex.Lock()
	defer w.mutex.Unlock()
	w.buffer = append(w.buffer[:0], kind, flags, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
	binary.BigEndian.PutUint32(w.buffer[4:], stream)
	binary.BigEndian.PutUint32(w.buffer[8:], uint32(len(payload)))
	w.buffer = append(w.buffer, payload...)
	_, err := w.target.Write(w.buffer)
	return err
}

// A sendHalf is the sending half of one stream: Write waits for credit, and writes into nothing once the host wants no more.
type sendHalf struct {
	mutex  sync.Mutex
	more   sync.Cond
	writer *frameWriter
	stream uint32
	credit int
	isGone bool
}

func newSendHalf(writer *frameWriter, stream uint32) *sendHalf {
	half := &sendHalf{writer: writer, stream: stream, credit: windowBytes}
	half.more.L = &half.mutex
	return half
}

func (h *sendHalf) grant(bytes uint32) {
	h.mutex.Lock()
	h.credit += int(bytes)
	h.mutex.Unlock()
	h.more.Broadcast()
}

func (h *sendHalf) abandon() {
	h.mutex.Lock()
	h.isGone = true
	h.mutex.Unlock()
	h.more.Broadcast()
}

// take waits for credit for some of the `wanted` bytes; 0 once nobody wants them.
func (h *sendHalf) take(wanted int) int {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	for h.credit <= 0 && !h.isGone {
		h.more.Wait()
	}
	if h.isGone {
		return 0
	}
	if wanted > payloadBytesMax {
		wanted = payloadBytesMax
	}
	if wanted > h.credit {
		wanted = h.credit
	}
	h.credit -= wanted
	return wanted
}

func (h *sendHalf) Write(data []byte) (int, error) {
	return len(data), h.write(data, 0)
}

// end sends what is left and closes the half.
func (h *sendHalf) end(last []byte) error {
	if len(last) == 0 {
		return h.writer.send(typeEnd, flagFin, h.stream, nil)
	}
	return h.write(last, flagFin)
}

func (h *sendHalf) write(data []byte, lastFlags byte) error {
	for len(data) > 0 {
		taken := h.take(len(data))
		if taken == 0 {
			break
		}
		flags := byte(0)
		if taken == len(data) {
			flags = lastFlags
		}
		if err := h.writer.send(typeData, flags, h.stream, data[:taken]); err != nil {
			return err
		}
		data = data[taken:]
	}
	if len(data) > 0 && lastFlags != 0 {
		return h.writer.send(typeEnd, lastFlags, h.stream, nil)
	}
	return nil
}
