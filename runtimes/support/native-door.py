"""Stands for the bridge in tests without a sandbox: HELLO, CONFIGURE, BIND, then becomes the program that speaks frames itself."""

import json
import os
import struct
import sys

program = sys.argv[1]


def exactly(size):
    data = b""
    while len(data) < size:
        piece = os.read(3, size - len(data))
        if not piece:
            sys.exit("the channel ended before BIND")
        data += piece
    return data


def read():
    kind, _flags, _reserved, _stream, length = struct.unpack(">BBHII", exactly(12))
    return kind, exactly(length)


def send(kind, message):
    payload = json.dumps(message).encode()
    os.write(3, struct.pack(">BBHII", kind, 0, 0, 0, len(payload)) + payload)


hello = {"protocol": 1, "role": "runtime", "runtime": "bridge", "version": "1", "pid": os.getpid()}
send(1, {**hello, "epoch": os.environ["HEARTH_EPOCH"]})
kind, payload = read()
while kind != 3:
    kind, payload = read()
bind = json.loads(payload)
facts = ("function", "version", "memoryMib", "logGroup", "logStream", "region", "accountId")
names = ("PATH", "HOME", "TZ", "LANG")
env = {name: os.environ[name] for name in names}
env |= {"AWS_LAMBDA_FUNCTION_NAME": bind["function"], "_HANDLER": bind["handler"], **bind["env"]}
env["HEARTH_BIND"] = json.dumps({name: bind[name] for name in facts})
os.set_inheritable(3, True)
os.execve(program, [program], env)
