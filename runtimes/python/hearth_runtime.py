"""The Python runtime of an Instance: one thread that reads frames on fd 3 and runs one invocation after the other. While a handler
runs nothing is read, except when its result waits for credit: so CANCEL is heard between invocations and at that point only, and the
host kills an Instance that does not end in time. A reading thread would cost each invocation two switches of the interpreter lock."""

import os
import sys
from time import perf_counter

from hearth_errors import describe, fail_payload
from hearth_invoke import Invocation
from hearth_json import dumps, loads
from hearth_loader import enter_path, load_handler
from hearth_output import Output, add_log_handler
from hearth_wire import BIND, CREDIT_STEP_BYTES, DATA, END, FAIL, HELLO, INVOKE, PING, PONG
from hearth_wire import PREPARE_SNAPSHOT, READY, RESUME, RESUMED, SHUTDOWN, Channel

# What a guest's clock may be off its host's: 25 ms after a restore, and some drift.
CLOCK_TOLERANCE_MS = 50

_kept = ("PATH", "HOME", "TZ", "LANG")


class State:
    """What output needs to know of the invocation that runs."""

    log_stream = 0
    request_id = ""


def main():
    # Only the function's own code has its bytecode elsewhere; see hearth_loader.
    sys.pycache_prefix = None
    channel = Channel(3)
    state = State()
    output = Output(channel, state)
    _hello(channel, os.environ.get("HEARTH_EPOCH", ""))
    try:
        Runtime(channel, state, output).serve()
    except EOFError:
        # Without the host there is nothing left to serve, and nobody to wait for threads.
        os._exit(0)


def _hello(channel, epoch, rest={}):
    hello = {
        "protocol": 1,
        "role": "runtime",
        "epoch": epoch,
        "runtime": "python",
        "version": ".".join(map(str, sys.version_info[:3])),
        "pid": os.getpid(),
        **rest,
    }
    channel.send(HELLO, 0, 0, dumps(hello).encode())


class Runtime:
    def __init__(self, channel, state, output):
        self._channel = channel
        self._state = state
        self._output = output
        self._bind = None
        self._handler = None
        # Since the last RESUME: this is no clone, its host alone is another.
        self._is_taken_over = False
        # When the last invocation ended.
        self._ended_at = 0.0

    def serve(self):
        channel = self._channel
        while True:
            type_, flags, stream, payload = channel.read()
            if type_ == INVOKE:
                self._invoke(stream, loads(payload))
            elif type_ == PING and flags == 0:
                channel.send(PING, PONG, 0, payload)
                if self._bind is None:
                    # There is time: what most handlers import is here when they come.
                    import json  # noqa: F401
            elif type_ == BIND:
                if self._handler is None:
                    self._start(loads(payload))
                else:
                    self._start_again(loads(payload))
            elif type_ == PREPARE_SNAPSHOT:
                self._prepare_snapshot()
            elif type_ == RESUME:
                self._resume(loads(payload))
            elif type_ == SHUTDOWN:
                self._shut_down()

    def _start(self, bind):
        """Becomes the function of `bind`, for life."""
        started_at = perf_counter()
        self._bind = bind
        try:
            _enter(bind)
            if bind["purpose"] == "serve":
                enter_path(bind["taskRoot"], bind["cacheRoot"])
                self._handler = load_handler(bind["handler"])
                if getattr(getattr(self._handler, "__code__", None), "co_flags", 0) & 0x280:
                    # An async handler needs it at its first call; here the time is told as loading.
                    import asyncio  # noqa: F401
                add_log_handler(self._state)
        except Exception as error:
            self._fail_start(error, "code_load")
        self._ready(started_at)

    def _start_again(self, bind):
        """Bound again in a clone of a snapshot that holds the code, or by another host: only what a host may set is set anew."""
        started_at = perf_counter()
        try:
            ours = f"{self._bind['function']}:{self._bind['version']}"
            wanted = f"{bind['function']}:{bind['version']}"
            if ours != wanted:
                raise RuntimeError(f"This snapshot is of {ours}, not of {wanted}.")
            self._bind = bind
            _enter(bind)
            if not self._is_taken_over:
                import hearth_snapshot

                hearth_snapshot.restored()
        except Exception as error:
            self._fail_start(error, "after_restore")
        self._ready(started_at)

    def _prepare_snapshot(self):
        """A hook that raises ends the runtime: its memory is not to be multiplied."""
        import hearth_snapshot

        try:
            hearth_snapshot.prepare()
        except Exception:
            import traceback

            traceback.print_exc()
            self._exit(1)
        self._output.flush()

    def _fail_start(self, error, phase):
        self._output.flush()
        self._channel.send(FAIL, 0, 0, fail_payload(describe(error), phase))
        self._exit(1)

    def _ready(self, started_at):
        self._output.flush()
        ready = {"loadMs": (perf_counter() - started_at) * 1000}
        self._channel.send(READY, 0, 0, dumps(ready).encode())

    def _invoke(self, stream, message):
        payload = self._event(stream)
        state = self._state
        state.log_stream = stream
        state.request_id = message["id"]
        invocation = Invocation(self._channel, stream, message)
        if message["kind"] == "invoke":
            invocation.run(self._handler, self._bind, payload, self._output)
        else:
            self._answer_platform(message["kind"], invocation)
        state.log_stream = 0
        self._ended_at = perf_counter()

    def _answer_platform(self, kind, invocation):
        """What the platform itself asks, not a caller."""
        if kind == "identity":
            from hearth_identity import identity

            invocation.send_body(identity())
        else:
            from hearth_compile import compile_all

            for entry in compile_all(self._bind["taskRoot"]):
                invocation.send_body(entry)
        self._output.flush()
        invocation.send_end()

    def _event(self, stream):
        """The whole event of `stream`; a short one came with INVOKE in one read."""
        channel = self._channel
        parts = []
        unread = 0
        while True:
            type_, flags, of, payload = channel.read()
            if of == stream and (type_ == DATA or type_ == END):
                if type_ == DATA:
                    parts.append(payload)
                if flags or type_ == END:
                    return parts[0] if len(parts) == 1 else b"".join(parts)
                unread += len(payload)
                if unread >= CREDIT_STEP_BYTES:
                    channel.send_credit(stream, unread)
                    unread = 0
            elif type_ == PING and flags == 0:
                channel.send(PING, PONG, 0, payload)
            elif type_ == SHUTDOWN:
                self._shut_down()

    def _resume(self, message):
        """First act of a clone, or under another host. It is read between invocations only: one that ran when it was sent is told."""
        self._is_taken_over = message.get("isTakenOver") is True
        is_busy = self._is_taken_over and self._ended_after(message["nowMs"])
        if not self._is_taken_over:
            import hearth_snapshot

            hearth_snapshot.reseed(message["seed"])
        self._channel.send(RESUMED, 0, 0, dumps({"epoch": message["epoch"]}).encode())
        _hello(self._channel, message["epoch"], {"isBusy": is_busy})

    def _ended_after(self, sent_ms):
        """The last invocation ended after the host's time `sent_ms`. A clock that was stopped with the machine is behind, and that one ended before."""
        from time import time

        return self._ended_at > 0 and (time() - (perf_counter() - self._ended_at)) * 1000 > sent_ms + CLOCK_TOLERANCE_MS

    def _shut_down(self):
        import signal

        listener = signal.getsignal(signal.SIGTERM)
        if callable(listener):
            listener(signal.SIGTERM, None)
        self._exit(0)

    def _exit(self, code):
        self._output.flush()
        sys.exit(code)


def _enter(bind):
    """Environment and working folder as the user's code expects them."""
    environment = {name: os.environ[name] for name in _kept if name in os.environ}
    environment.update({
        "LAMBDA_TASK_ROOT": bind["taskRoot"],
        "LAMBDA_RUNTIME_DIR": os.path.dirname(os.path.abspath(__file__)),
        "AWS_LAMBDA_FUNCTION_NAME": bind["function"],
        "AWS_LAMBDA_FUNCTION_VERSION": bind["version"],
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(bind["memoryMib"]),
        "AWS_LAMBDA_LOG_GROUP_NAME": bind["logGroup"],
        "AWS_LAMBDA_LOG_STREAM_NAME": bind["logStream"],
        "AWS_REGION": bind["region"],
        "AWS_DEFAULT_REGION": bind["region"],
        "HEARTH_API_URL": bind["apiUrl"],
        "HEARTH_PROJECT": bind["project"],
        "_HANDLER": bind["handler"],
    })
    environment.update(bind["env"])
    for name in list(os.environ):
        if name not in environment:
            del os.environ[name]
    os.environ.update(environment)
    if "TZ" in environment:
        import time

        time.tzset()
    os.chdir(bind["taskRoot"])
