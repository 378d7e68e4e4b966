"""Answers an INVOKE of kind identity: what must differ between two clones of a snapshot, or must be as the host set it."""

import hashlib
import json
import os
import random
import secrets
import socket
import ssl
import struct
import time
import uuid


def identity():
    return json.dumps({
        "randomBytes": os.urandom(32).hex(),
        "uuid": str(uuid.uuid4()),
        "mathRandom": random.random(),
        "random": random.getrandbits(128),
        "secrets": secrets.token_hex(32),
        "uuid4": str(uuid.uuid4()),
        "sslRandom": ssl.RAND_bytes(32).hex(),
        "nowMs": int(time.time() * 1000),
        "hostname": socket.gethostname(),
        "addresses": _addresses(),
        "env": {name: hashlib.sha256(value.encode("utf-8", "surrogateescape")).hexdigest() for name, value in os.environ.items()},
    }).encode()


def _addresses():
    """IPv4 addresses of all interfaces but the loopback."""
    import fcntl

    get_address = 0x8915
    found = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
        for _, name in socket.if_nameindex():
            try:
                answer = fcntl.ioctl(asker, get_address, struct.pack("256s", name.encode()[:15]))
            except OSError:
                # It has none.
                continue
            address = socket.inet_ntoa(answer[20:24])
            if not address.startswith("127."):
                found.append(address)
    return found
