"""JSON by the C parts of the interpreter alone. The package `json` around them loads regular expressions and what those need: 6 ms of a start and 1.4
MiB, which only functions that use them should pay. Whatever is not plain goes to the package, and so does every error."""

try:
    from _json import encode_basestring, encode_basestring_ascii, make_encoder, make_scanner
except ImportError:
    # Another interpreter than CPython 3.11 to 3.13.
    make_scanner = None

_constants = {"-Infinity": float("-inf"), "Infinity": float("inf"), "NaN": float("nan")}


class _Rules:
    """What `json.JSONDecoder()` hands to its scanner."""

    strict = True
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = int
    parse_constant = _constants.__getitem__

    def __init__(self):
        self.memo = {}


_scan = make_scanner and make_scanner(_Rules())


def loads(data):
    """As `json.loads` of bytes."""
    if _scan is not None:
        try:
            text = data.decode().strip(" \t\n\r")
            value, end = _scan(text, 0)
            if end == len(text):
                return value
        except (StopIteration, ValueError):
            # The package says what is wrong, or knows the encoding.
            pass
    import json

    return json.loads(data)


def dumps(value, default=None, ensure_ascii=True):
    """As `json.dumps` without spaces and without NaN, which JSON does not have."""
    if make_scanner is None:
        import json

        return json.dumps(value, default=default, ensure_ascii=ensure_ascii, allow_nan=False, separators=(",", ":"))
    quote = encode_basestring_ascii if ensure_ascii else encode_basestring
    if isinstance(value, str):
        return quote(value)
    encode = make_encoder({}, default or _refuse, quote, None, ":", ",", False, False, False)
    return "".join(encode(value, 0))


def _refuse(value):
    raise TypeError(f"Object of type {type(value).__name__} is not JSON serializable")
