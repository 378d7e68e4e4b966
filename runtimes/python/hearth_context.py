"""The second argument of a handler: AWS Lambda's fields and methods, plus `deadline_ms` and `wait_until`."""

from time import time


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
