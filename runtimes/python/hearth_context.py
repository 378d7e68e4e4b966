"""The second argument of a handler: AWS Lambda's fields and methods, plus `deadline_ms` and `wait_until`."""

from os import environ
from time import time

_TRACE = "_X_AMZN_TRACE_ID"


def _set_trace_variable(traceparent):
    """Of the invocation that runs, as on Lambda: AWS's tracing libraries look there."""
    if traceparent is None:
        del environ[_TRACE]
        return
    _, trace, parent, flags = traceparent.split("-")
    environ[_TRACE] = f"Root=1-{trace[:8]}-{trace[8:]};Parent={parent};Sampled={int(flags, 16) & 1}"


class Context:
    __slots__ = (
        "aws_request_id",
        "client_context",
        "deadline_ms",
        "function_name",
        "function_version",
        "identity",
        "invoked_function_arn",
        "log_group_name",
        "log_stream_name",
        "memory_limit_in_mb",
        "traceparent",
        "_work",
    )

    def __init__(self, bind, invoke):
        self.aws_request_id = invoke["id"]
        self.function_name = bind["function"]
        self.function_version = bind["version"]
        self.memory_limit_in_mb = str(bind["memoryMib"])
        self.invoked_function_arn = f"arn:aws:lambda:{bind['region']}:{bind['accountId']}:function:{bind['function']}"
        self.log_group_name = bind["logGroup"]
        self.log_stream_name = bind["logStream"]
        self.deadline_ms = invoke["deadlineMs"]
        self.traceparent = invoke.get("traceparent")
        if self.traceparent is not None or _TRACE in environ:
            _set_trace_variable(self.traceparent)
        self.client_context = None
        self.identity = None
        self._work = []

    def get_remaining_time_in_millis(self):
        return max(0, int(self.deadline_ms - time() * 1000))

    def log(self, message):
        print(message, end="")

    def wait_until(self, work):
        """Keeps the Instance running after the answer until `work` is done: a callable (called then), a coroutine (run then), a
        task of the handler's own loop, a started thread, or a concurrent future. What it raises is printed."""
        self._work.append(work)
        return work

    def __repr__(self):
        return f"Context(aws_request_id={self.aws_request_id!r}, function_name={self.function_name!r})"
