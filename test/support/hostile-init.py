"""PID 1 of a guest that means harm: it answers as Hearth's init, supervisor and runtime do, as root and in one program, and runs whatever
Python an invocation brings (`{"code": ...}`; what the code leaves in `result` is the answer). For test/support/hostile-guest.ts alone."""

import ctypes
import fcntl
import json
import os
import select
import socket
import struct
import time

HELLO, CONFIGURE, BIND, READY, INVOKE, HEAD, DATA, CREDIT, END, FAIL = range(1, 11)
IDLE, LOG, OPEN, CANCEL, PING, PREPARE_SNAPSHOT, RESUME, RESUMED, SHUTDOWN = range(11, 20)
STATS = 22
FIN = 1

libc = ctypes.CDLL(None, use_errno=True)
network = None
ports = {}
# Channels on which nothing is answered any more.
silent = set()


def frame(type_, flags=0, stream=0, payload=b""):
    return struct.pack(">BBHII", type_, flags, 0, stream, len(payload)) + payload


def send(port, *parts):
    data = memoryview(b"".join(parts))
    while data:
        data = data[os.write(ports[port], data):]


def say(port, type_, message, flags=0, stream=0):
    send(port, frame(type_, flags, stream, json.dumps(message).encode()))


def hello(port, epoch):
    message = {"protocol": 1, "role": port, "epoch": epoch, "runtime": "hostile", "version": "1", "pid": 1}
    say(port, HELLO, {**message, "kernelMs": 1, "initMs": 1})


def ioctl(request, *parts):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        return fcntl.ioctl(control, request, b"".join(parts).ljust(40, b"\0"))


def ipv4(address):
    return socket.inet_aton(address)


def inet(address, family=socket.AF_INET):
    return struct.pack("HH", family, 0) + ipv4(address) + bytes(8)


def configure(address, gateway, mask="255.255.0.0"):
    """The usual way in, by ioctl: address, mask, up, default route."""
    name = b"eth0".ljust(16, b"\0")
    ioctl(0x8916, name, inet(address))
    ioctl(0x891C, name, inet(mask))
    ioctl(0x8914, name, struct.pack("H", 0x1 | 0x40))
    route = bytes(8) + inet("0.0.0.0") + inet(gateway) + inet("0.0.0.0") + struct.pack("H", 0x1 | 0x2)
    try:
        ioctl(0x890B, route.ljust(120, b"\0"))
    except FileExistsError:
        pass


def own_mac():
    with open("/sys/class/net/eth0/address") as file:
        return bytes.fromhex(file.read().strip().replace(":", ""))


def wire():
    """Whole Ethernet frames on eth0."""
    raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    raw.bind(("eth0", 0))
    raw.settimeout(0.2)
    return raw


def gateway_mac():
    """As ARP tells it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.sendto(b"", (network["gateway"], 9))
    for _ in range(100):
        with open("/proc/net/arp") as file:
            for line in file.read().splitlines()[1:]:
                words = line.split()
                if words[0] == network["gateway"] and words[3] != "00:00:00:00:00:00":
                    return bytes.fromhex(words[3].replace(":", ""))
        time.sleep(0.02)
    raise TimeoutError("the gateway answers no ARP")


def arp(operation, sender_mac, sender, target, target_mac=bytes(6), source=None, to=b"\xff" * 6):
    head = to + (source or sender_mac) + b"\x08\x06\x00\x01\x08\x00\x06\x04" + struct.pack(">H", operation)
    return head + sender_mac + ipv4(sender) + target_mac + ipv4(target)


def checksum(data):
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def udp4(to_mac, source, target, text, port=9, source_mac=None):
    """An Ethernet frame with one datagram, whoever it says to be from."""
    datagram = struct.pack(">HHHH", 4000, port, 8 + len(text), 0) + text
    head = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(datagram), 1, 0, 64, 17, 0) + ipv4(source) + ipv4(target)
    head = head[:10] + struct.pack(">H", checksum(head)) + head[12:]
    return to_mac + (source_mac or own_mac()) + b"\x08\x00" + head + datagram


def udp6(to_mac, source, target, text, port=9):
    source, target = (socket.inet_pton(socket.AF_INET6, each) for each in (source, target))
    size = 8 + len(text)
    pseudo = source + target + struct.pack(">IHBB", size, 0, 0, 17)
    sum_ = checksum(pseudo + struct.pack(">HHHH", 4000, port, size, 0) + text)
    datagram = struct.pack(">HHHH", 4000, port, size, sum_) + text
    return to_mac + own_mac() + b"\x86\xdd" + struct.pack(">IHBB", 0x60000000, size, 17, 64) + source + target + datagram


def syn(target, port, source=None, to=None, timeout=0.4):
    """Whether anybody answers the first segment of a TCP connection to `target`, sent to the gateway past this machine's own routes."""
    source = source or network["address"]
    own_port = 20000 + os.urandom(2)[0] * 128 + port % 128
    head = struct.pack(">HHIIBBHHH", own_port, port, 1, 0, 5 << 4, 2, 65535, 0, 0)
    pseudo = ipv4(source) + ipv4(target) + struct.pack(">BBH", 0, 6, len(head))
    head = head[:16] + struct.pack(">H", checksum(pseudo + head)) + head[18:]
    packet = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(head), 1, 0, 64, 6, 0) + ipv4(source) + ipv4(target)
    packet = packet[:10] + struct.pack(">H", checksum(packet)) + packet[12:] + head
    raw = wire()
    raw.send((to or gateway_mac()) + own_mac() + b"\x08\x00" + packet)
    until = time.monotonic() + timeout
    while time.monotonic() < until:
        try:
            came = raw.recv(2000)
        except TimeoutError:
            continue
        if came[12:14] == b"\x08\x00" and came[23] == 6 and came[36:38] == struct.pack(">H", own_port):
            return True
    return False


def connect(address, port, timeout=1.0):
    """What a TCP server there says, or the error's name."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as stream:
            stream.settimeout(timeout)
            stream.connect((address, port))
            stream.sendall(b"GET / HTTP/1.0\r\n\r\n")
            return "reached " + stream.recv(200).decode(errors="replace")
    except OSError as error:
        return type(error).__name__


def run(stream, body):
    event = json.loads(body)
    scope = {"event": event, "stream": stream}
    try:
        exec(event.get("code", ""), {**globals()}, scope)
        answer = {"result": scope.get("result")}
    except BaseException as error:
        answer = {"error": f"{type(error).__name__}: {error}"}
    send("runtime", frame(DATA, FIN, stream, json.dumps(answer).encode()))


def on_init(type_, stream, payload):
    global network
    message = json.loads(payload) if payload[:1] == b"{" else {}
    if type_ == CONFIGURE:
        hello("supervisor", message["epoch"])
        hello("runtime", message["epoch"])
    elif type_ == BIND:
        network = message["network"]
        if network is not None:
            configure(network["address"], network["gateway"])
        say("init", READY, {"loadMs": 0})
    elif type_ == RESUME:
        say("init", RESUMED, {})


bodies = {}


def on_runtime(type_, flags, stream, payload):
    if type_ == BIND:
        say("runtime", READY, {"loadMs": 0})
    elif type_ == DATA:
        bodies[stream] = bodies.get(stream, b"") + payload
        if flags & FIN:
            run(stream, bodies.pop(stream))


def receive(port, type_, flags, stream, payload):
    if port in silent:
        return
    if type_ == PING and flags == 0:
        send(port, frame(PING, 1, 0, payload))
    elif port == "init":
        on_init(type_, stream, payload)
    elif port == "runtime":
        on_runtime(type_, flags, stream, payload)


def start():
    for kind, place in (("devtmpfs", "/dev"), ("proc", "/proc"), ("sysfs", "/sys"), ("tmpfs", "/tmp"), ("tmpfs", "/run")):
        libc.mount(kind.encode(), place.encode(), kind.encode(), 0, None)
    # A kernel without a console starts PID 1 with no descriptor at all.
    while os.open("/dev/null", os.O_RDWR) < 2:
        pass
    base = "/sys/class/virtio-ports"
    while len(ports) < 3:
        for device in os.listdir(base):
            with open(f"{base}/{device}/name") as file:
                name = file.read().strip().removeprefix("hearth.")
            if name in ("init", "supervisor", "runtime") and name not in ports and os.path.exists(f"/dev/{device}"):
                ports[name] = os.open(f"/dev/{device}", os.O_RDWR)
        time.sleep(0.005)


def serve():
    with open("/proc/cmdline") as file:
        words = file.read().split()
    epoch = next(word.split("=", 1)[1] for word in words if word.startswith("hearth.epoch="))
    hello("init", epoch)
    names = {fd: name for name, fd in ports.items()}
    rest = dict.fromkeys(names, b"")
    poll = select.poll()
    for fd in names:
        poll.register(fd, select.POLLIN)
    while True:
        for fd, events in poll.poll():
            if not events & select.POLLIN:
                # No host at the other end: a port tells so without pause.
                time.sleep(0.01)
                continue
            rest[fd] += os.read(fd, 65536)
            while len(rest[fd]) >= 12:
                type_, flags, _, stream, size = struct.unpack_from(">BBHII", rest[fd])
                if len(rest[fd]) < 12 + size:
                    break
                payload, rest[fd] = rest[fd][12:12 + size], rest[fd][12 + size:]
                receive(names[fd], type_, flags, stream, payload)


start()
serve()
