"""What goes wrong, as FAIL says it: {errorType, errorMessage, stackTrace}."""

from hearth_json import dumps

_message_chars_max = 16384
_lines_max = 64
_line_chars_max = 1024


class RuntimeFault(Exception):
    """An error that Hearth itself reports about user code; `cause` brings the stack, if there is one."""

    def __init__(self, error_type, message, cause=None):
        super().__init__(message)
        self.error_type = error_type
        self.cause = cause


def describe(error):
    """Any exception within the bounds of FAIL. Never raises."""
    try:
        if isinstance(error, RuntimeFault):
            trace = [] if error.cause is None else _lines(error.cause)
            return _fields(error.error_type, str(error), trace)
        return _fields(type(error).__name__, str(error), _lines(error))
    except Exception:
        return _fields("Exception", "An exception that cannot be described was raised.", [])


def fail_payload(fields, phase=None):
    """FAIL's payload; shortened further when escapes make it longer than a frame."""
    message = fields if phase is None else {**fields, "phase": phase}
    payload = dumps(message).encode()
    if len(payload) <= 65536:
        return payload
    short = {**message, "errorMessage": fields["errorMessage"][:2048], "stackTrace": []}
    return dumps(short).encode()


def _fields(error_type, message, trace):
    return {
        "errorType": _cut(error_type, 256),
        "errorMessage": _cut(message, _message_chars_max),
        "stackTrace": [_cut(line, _line_chars_max) for line in trace[-_lines_max:]],
    }


def _lines(error):
    """Formatted lines of the traceback, as AWS Lambda gives them, without this runtime's own frames."""
    import traceback

    here = _lines.__code__.co_filename.rpartition("/")[0] + "/"
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith((here, "<frozen importlib"))]
    lines = traceback.format_list(frames)
    if isinstance(error, SyntaxError) and error.filename:
        lines.append(f'  File "{error.filename}", line {error.lineno}\n    {(error.text or "").strip()}\n')
    return lines


def _cut(text, chars_max):
    return text if len(text) <= chars_max else text[: chars_max - 3] + "..."
