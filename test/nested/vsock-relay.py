"""UNIX sockets in a folder, each of which leads to a vsock port of a guest, for programs that know no AF_VSOCK: vsock-relay.py CID FOLDER"""

import os
import socket
import sys
import threading
import time

PORTS = {"init": 1024, "supervisor": 1025, "runtime": 1026}
cid, folder = int(sys.argv[1]), sys.argv[2]


def connect(port):
    """Waits for a guest that does not listen yet: its kernel refuses until then."""
    until = time.monotonic() + 60
    while True:
        far = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)
        try:
            far.connect((cid, port))
            return far
        except OSError:
            far.close()
            if time.monotonic() > until:
                raise
            time.sleep(0.02)


def pump(source, target):
    try:
        while data := source.recv(65536):
            target.sendall(data)
    except OSError:
        pass
    # What one side ends, the other hears of.
    for end in (source, target):
        try:
            end.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


def serve(name, port):
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(os.path.join(folder, name))
    listener.listen()
    while True:
        near, _ = listener.accept()
        far = connect(port)
        for source, target in ((near, far), (far, near)):
            threading.Thread(target=pump, args=(source, target), daemon=True).start()


for name, port in PORTS.items():
    threading.Thread(target=serve, args=(name, port)).start()
