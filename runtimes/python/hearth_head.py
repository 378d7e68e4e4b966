"""The head that a streaming handler gives its answer: status and headers, checked before they are sent."""

import re

from hearth_errors import RuntimeFault
from hearth_json import dumps
from hearth_wire import PAYLOAD_BYTES_MAX

_HEADERS_MAX = 256
_name = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}")
_value = re.compile("[\\t\x20-\x7e\x80-\xff]{0,8192}")


def head_payload(prelude):
    """HEAD for `{"statusCode", "headers", "cookies"}`. Raises RuntimeFault for what HTTP cannot carry."""
    status = prelude.get("statusCode", 200)
    if not isinstance(status, int) or not 100 <= status <= 999:
        raise _invalid(f"Invalid status {status!r}: must be 100 to 999.")
    headers = [(str(name).lower(), str(value)) for name, value in (prelude.get("headers") or {}).items()]
    if not any(name == "content-type" for name, _ in headers):
        headers.append(("content-type", "application/octet-stream"))
    headers += [("set-cookie", str(cookie)) for cookie in prelude.get("cookies") or ()]
    if len(headers) > _HEADERS_MAX:
        raise _invalid(f"{len(headers)} headers: at most {_HEADERS_MAX} can be sent.")
    for name, value in headers:
        if not _name.fullmatch(name) or not _value.fullmatch(value):
            raise _invalid(f'Header "{name}" has a name or value that HTTP cannot carry.')
    payload = dumps({"status": status, "headers": headers}).encode()
    if len(payload) > PAYLOAD_BYTES_MAX:
        raise _invalid("The headers take more than 65,536 bytes.")
    return payload


def _invalid(message):
    return RuntimeFault("Runtime.InvalidResponse", message)
