"""Frames of the guest protocol: a 12-byte header and at most 64 KiB. Specified in docs/reference/guest-protocol.md; twins:
src/wire/, guest/src/wire.rs, runtimes/node/wire.cjs. All four run test/wire/vectors.json."""

import os
from _collections import deque
from _struct import Struct
from _thread import allocate_lock

HEADER_BYTES = 12
PAYLOAD_BYTES_MAX = 65536
WINDOW_BYTES = 262144
CREDIT_STEP_BYTES = 65536
# A buffer of 128 KiB or more comes from mmap: each read would map and unmap it, 9.3 us instead of 1.0 for a short event.
_READ_BYTES = 65536

HELLO, CONFIGURE, BIND, READY, INVOKE, HEAD, DATA, CREDIT, END, FAIL = range(1, 11)
IDLE, LOG, OPEN, CANCEL, PING, PREPARE_SNAPSHOT, RESUME, RESUMED, SHUTDOWN = range(11, 20)
# 20 and 21 are reserved for EXEC and STDIN.
STATS = 22

FIN = 1
OPEN_WORK = 2
PONG = 1

_header = Struct(">BBHII")
_u32 = Struct(">I")
_plain = (0,)


def _zero(stream):
    return stream == 0


def _odd(stream):
    return stream & 1 == 1


def _even(stream):
    return stream & 1 == 0 and stream != 0


def _not_zero(stream):
    return stream != 0


def _zero_or_odd(stream):
    return stream == 0 or stream & 1 == 1


def _any(_stream):
    return True


# By type: the streams it may be on, and the values its flags may have.
_rules = {type_: (_zero, _plain) for type_ in range(1, 20)}
_rules.update({
    INVOKE: (_odd, _plain),
    HEAD: (_odd, _plain),
    DATA: (_not_zero, (0, 1, 3)),
    CREDIT: (_not_zero, _plain),
    END: (_not_zero, (0, 1, 2, 3)),
    FAIL: (_any, (0, 1, 2, 3)),
    IDLE: (_odd, _plain),
    LOG: (_zero_or_odd, (1, 2)),
    OPEN: (_even, _plain),
    CANCEL: (_not_zero, _plain),
    PING: (_zero, (0, 1)),
    STATS: (_zero, (0, 1)),
})


class WireError(Exception):
    """A frame that breaks the rules; `kind` names which."""

    def __init__(self, kind, message):
        super().__init__(message)
        self.kind = kind


def encode_frame(type_, flags, stream, payload=b""):
    if len(payload) > PAYLOAD_BYTES_MAX:
        raise WireError("length", f"A frame of {len(payload)} bytes does not exist.")
    return _header.pack(type_, flags, 0, stream, len(payload)) + payload


class FrameDecoder:
    """Cuts a byte stream into `(type, flags, stream, payload)`, however it is split."""

    def __init__(self):
        self._rest = bytearray()
        self._needed = HEADER_BYTES

    def push(self, chunk):
        """The frames that `chunk` completes. Raises WireError at the first header that breaks the rules."""
        if self._rest:
            self._rest += chunk
            if len(self._rest) < self._needed:
                return []
            chunk = bytes(self._rest)
            self._rest.clear()
        frames = []
        at = 0
        size = len(chunk)
        self._needed = HEADER_BYTES
        while size - at >= HEADER_BYTES:
            type_, flags, reserved, stream, length = _header.unpack_from(chunk, at)
            _check(type_, flags, reserved, stream, length)
            end = at + HEADER_BYTES + length
            if end > size:
                self._needed = HEADER_BYTES + length
                break
            frames.append((type_, flags, stream, chunk[at + HEADER_BYTES : end]))
            at = end
        if at < size:
            self._rest += chunk[at:]
        return frames


def _check(type_, flags, reserved, stream, length):
    rule = _rules.get(type_)
    if rule is None:
        raise WireError("type", f"Unknown frame type {type_}.")
    if flags not in rule[1]:
        raise WireError("flags", f"Type {type_} with flags {flags}.")
    if reserved != 0:
        raise WireError("reserved", "Reserved bytes are set.")
    if not rule[0](stream):
        raise WireError("stream", f"Type {type_} on stream {stream}.")
    fits = length == 4 if type_ == CREDIT else length <= 64 if type_ == PING else length <= PAYLOAD_BYTES_MAX
    if not fits:
        raise WireError("length", f"Type {type_} of {length} bytes.")


class Channel:
    """Both directions of one blocking socket. One thread reads, any thread may write."""

    def __init__(self, fd):
        self._fd = fd
        self._decoder = FrameDecoder()
        self._frames = deque()
        self._lock = allocate_lock()
        self._poll = None
        os.set_blocking(fd, True)
        os.set_inheritable(fd, False)

    def read(self):
        """The next frame; raises EOFError when the host is gone."""
        while not self._frames:
            try:
                chunk = os.read(self._fd, _READ_BYTES)
            except ConnectionError:
                chunk = b""
            if not chunk:
                raise EOFError
            self._frames.extend(self._decoder.push(chunk))
        return self._frames.popleft()

    def has_input(self):
        """Whether `read` would find something now."""
        if self._frames:
            return True
        if self._poll is None:
            from select import POLLIN, poll

            self._poll = poll()
            self._poll.register(self._fd, POLLIN)
        return bool(self._poll.poll(0))

    def put_back(self, frames):
        """Lets `read` give these frames once more, before all others."""
        self._frames.extendleft(reversed(frames))

    def send(self, type_, flags, stream, payload=b""):
        self.send_bytes(encode_frame(type_, flags, stream, payload))

    def send_bytes(self, data):
        """Hands whole frames to the kernel; blocks while the host does not read."""
        with self._lock:
            sent = os.write(self._fd, data)
            while sent < len(data):
                data = data[sent:]
                sent = os.write(self._fd, data)

    def send_credit(self, stream, count):
        self.send(CREDIT, 0, stream, _u32.pack(count))


def credit_of(payload):
    return _u32.unpack(payload)[0]
