"""One invocation: event in, handler, answer out."""

import sys

from hearth_context import Context
from hearth_errors import RuntimeFault, describe, fail_payload
from hearth_json import dumps, loads
from hearth_wire import CANCEL, CREDIT, DATA, END, FAIL, FIN, HEAD, IDLE, OPEN_WORK, PAYLOAD_BYTES_MAX, PING, PONG
from hearth_wire import WINDOW_BYTES, credit_of, encode_frame

_octets = b'{"status":200,"headers":[["content-type","application/octet-stream"]]}'
_text = b'{"status":200,"headers":[["content-type","text/plain; charset=utf-8"]]}'


class Cancelled(BaseException):
    """The host wants no more of a result that is being streamed."""


class Invocation:
    def __init__(self, channel, stream, message):
        self._channel = channel
        self._stream = stream
        self._message = message
        self._credit = WINDOW_BYTES
        self._later = []

    def run(self, handler, bind, payload, output):
        """Runs the handler and answers. What it raises is an answer too, except SystemExit and KeyboardInterrupt."""
        context = Context(bind, self._message)
        try:
            result = handler(self._event(payload), context)
            if hasattr(result, "__await__"):
                result = run_coroutine(result)
            self._answer(result, context, output)
        except Cancelled:
            self._finish(END, b"", context)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:
            output.flush()
            self._finish(FAIL, fail_payload(describe(error)), context)
        if context._work:
            _finish_work(context._work)
            output.flush()
            self._channel.send(IDLE, 0, self._stream)
        if self._later:
            self._channel.put_back(self._later)

    def send_body(self, data):
        """Sends bytes as credit allows, without ending the stream."""
        view = memoryview(data).cast("B")
        at = 0
        while at < len(view):
            if self._credit == 0:
                self._wait_for_credit()
            size = min(len(view) - at, PAYLOAD_BYTES_MAX, self._credit)
            self._credit -= size
            self._channel.send(DATA, 0, self._stream, bytes(view[at : at + size]))
            at += size

    def send_end(self):
        self._channel.send(END, FIN, self._stream)

    def _event(self, payload):
        content_type = self._message["contentType"].partition(";")[0].strip().lower()
        if content_type not in ("", "application/json") and not content_type.endswith("+json"):
            return payload
        if not payload:
            return {}
        try:
            return loads(payload)
        except ValueError as error:
            raise RuntimeFault("Runtime.UnmarshalError", f"Unable to unmarshal input: {error}") from None

    def _answer(self, result, context, output):
        if isinstance(result, (bytes, bytearray, memoryview)):
            output.flush()
            self._channel.send(HEAD, 0, self._stream, _octets)
            return self._finish(DATA, bytes(result), context)
        if hasattr(result, "__next__"):
            return self._answer_parts(result, context, output)
        if hasattr(result, "__anext__"):
            return self._answer_parts(_iterate(result), context, output)
        data = _to_json(result)
        output.flush()
        return self._finish(DATA, data, context)

    def _answer_parts(self, parts, context, output):
        """A generator's parts as they come: text, or bytes, as the first one is. A dict as the first part is the head, as in AWS's
        prelude: {"statusCode", "headers", "cookies"}."""
        is_begun = False
        try:
            for part in parts:
                if not is_begun:
                    is_begun = True
                    if isinstance(part, dict):
                        from hearth_head import head_payload

                        self._channel.send(HEAD, 0, self._stream, head_payload(part))
                        continue
                    self._channel.send(HEAD, 0, self._stream, _text if isinstance(part, str) else _octets)
                output.flush()
                self.send_body(part.encode() if isinstance(part, str) else part)
                # Credit that came is taken here too; a CANCEL ends a generator that never waits for any.
                while self._channel.has_input():
                    self._receive()
        except Cancelled:
            # Its own `finally` runs now and not whenever it is collected.
            if hasattr(parts, "close"):
                parts.close()
            raise
        if not is_begun:
            self._channel.send(HEAD, 0, self._stream, _octets)
        output.flush()
        self._finish(END, b"", context)

    def _finish(self, type_, data, context):
        flags = FIN | OPEN_WORK if context._work else FIN
        if type_ != DATA:
            return self._channel.send(type_, flags, self._stream, data)
        if len(data) > PAYLOAD_BYTES_MAX:
            # Slices of views copy only what is sent.
            view = memoryview(data)
            rest = len(data) % PAYLOAD_BYTES_MAX or PAYLOAD_BYTES_MAX
            self.send_body(view[:-rest])
            data = bytes(view[-rest:])
        while self._credit < len(data):
            self._wait_for_credit()
        self._channel.send_bytes(encode_frame(DATA, flags, self._stream, data))

    def _wait_for_credit(self):
        self._receive()

    def _receive(self):
        """Reads one frame from the channel for the credit of this stream. What is for later is kept."""
        type_, flags, stream, payload = frame = self._channel.read()
        if type_ == PING and flags == 0:
            self._channel.send(PING, PONG, 0, payload)
        elif stream != self._stream:
            self._later.append(frame)
        elif type_ == CREDIT:
            self._credit += credit_of(payload)
        elif type_ == CANCEL:
            raise Cancelled


def run_coroutine(awaitable):
    """Runs on the process's one event loop, so that clients made by earlier invocations stay usable."""
    import asyncio

    async def wait():
        return await awaitable

    return _loop(asyncio).run_until_complete(wait())


def _loop(asyncio, made=[]):
    if not made:
        made.append(asyncio.new_event_loop())
        asyncio.set_event_loop(made[0])
    return made[0]


def _iterate(parts):
    """An asynchronous generator as a plain one."""
    while True:
        try:
            yield run_coroutine(parts.__anext__())
        except StopAsyncIteration:
            return


def _finish_work(work):
    """What was handed to `wait_until`, also by the work itself."""
    while work:
        one = work.pop(0)
        try:
            if hasattr(one, "__await__"):
                run_coroutine(one)
            elif hasattr(one, "join"):
                one.join()
            elif hasattr(one, "result"):
                one.result()
            else:
                outcome = one()
                if hasattr(outcome, "__await__"):
                    run_coroutine(outcome)
        except Exception:
            import traceback

            print("Work handed to wait_until failed:", file=sys.stderr)
            traceback.print_exc()


def _default(value):
    if type(value).__name__ == "Decimal":
        return int(value) if value == value.to_integral_value() else float(value)
    raise TypeError(f"Object of type {type(value).__name__} is not JSON serializable")


def _to_json(result):
    try:
        text = dumps(result, _default, ensure_ascii=False)
    except Exception as error:
        raise RuntimeFault("Runtime.MarshalError", f"Unable to marshal response: {error}", error) from None
    try:
        return text.encode()
    except UnicodeEncodeError:
        # Half of a surrogate pair: only an escape can carry it.
        return dumps(result, _default).encode()
