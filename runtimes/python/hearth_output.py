"""sys.stdout and sys.stderr as LOG frames on the stream of the running invocation."""

import io
import sys

from hearth_wire import LOG, PAYLOAD_BYTES_MAX


class _LogRaw(io.RawIOBase):
    """Bytes that are written here leave at once, so that the last words of a process that is then killed are not lost."""

    name = "<hearth>"

    def __init__(self, channel, state, fd):
        self._channel = channel
        self._state = state
        self._fd = fd

    def writable(self):
        return True

    def fileno(self):
        # Raw writes and children go through the inherited descriptor, which the supervisor reads.
        return self._fd

    def write(self, data):
        data = bytes(data)
        stream = self._state.log_stream
        at = 0
        while at < len(data):
            end = _boundary(data, min(at + PAYLOAD_BYTES_MAX, len(data)))
            self._channel.send(LOG, self._fd, stream, data[at:end])
            at = end
        return len(data)


def _boundary(data, end):
    """The last place at or before `end` that does not cut a UTF-8 character in two."""
    if end == len(data):
        return end
    for at in range(end, end - 4, -1):
        if data[at] & 0xC0 != 0x80:
            return at
    return end


class Output:
    """Redirects both descriptors; `flush` sends what has no line end yet."""

    def __init__(self, channel, state):
        self._writers = []
        for fd, name in ((1, "stdout"), (2, "stderr")):
            buffered = io.BufferedWriter(_LogRaw(channel, state, fd), 65536)
            writer = io.TextIOWrapper(buffered, encoding="utf-8", errors="backslashreplace", line_buffering=True)
            self._writers.append(writer)
            setattr(sys, name, writer)
            setattr(sys, f"__{name}__", writer)

    def flush(self):
        for writer in self._writers:
            if not writer.closed:
                writer.flush()


class RequestFilter:
    """Gives log records the id of the invocation that they belong to."""

    def __init__(self, state):
        self._state = state

    def filter(self, record):
        record.aws_request_id = self._state.request_id
        return True


def add_log_handler(state):
    """Lambda's root handler, once user code has imported `logging` and set up none of its own."""
    logging = sys.modules.get("logging")
    if logging is None or logging.root.handlers:
        return
    import time

    handler = logging.StreamHandler(sys.stdout)
    formatter = logging.Formatter(
        "[%(levelname)s]\t%(asctime)s.%(msecs)03dZ\t%(aws_request_id)s\t%(message)s", "%Y-%m-%dT%H:%M:%S"
    )
    formatter.converter = time.gmtime
    handler.setFormatter(formatter)
    handler.addFilter(RequestFilter(state))
    logging.root.addHandler(handler)
