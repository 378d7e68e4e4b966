"""Resizes a baseline JPEG with nothing but the standard library, in a few seconds: what the example falls back on without Pillow.
The image stays in its own colour space (YCbCr), and whole halvings cost nothing: each block is decoded at a half, quarter or eighth."""

import base64
import math
from operator import mul

BLOCK = 8
# Zigzag order: the k-th coefficient of a block lies at row * 8 + column.
ZIGZAG = sorted(range(64), key=lambda i: (i // 8 + i % 8, i // 8 if (i // 8 + i % 8) % 2 else i % 8))
# Quantisation of quality 50 and Huffman tables of the JPEG standard (annex K), DC and AC, as a DHT segment holds them.
QUANTISATION = bytes.fromhex(
    "100b0c0e0c0a100e0d0e1211101318281a181616183123251d283a333d3c3933383740485c4e404457453738506d51575f626768673e4d71797064785c656763"
)
HUFFMAN = (
    "AAABBQEBAQEBAQAAAAAAAAAAAQIDBAUGBwgJCgsQAAIBAwMCBAMFBQQEAAABfQECAwAEEQUSITFBBhNRYQcicRQygZGhCCNCscEVUtHwJDNicoIJChYXGBkaJSYnKCkqNDU2Nzg5"
    "OkNERUZHSElKU1RVVldYWVpjZGVmZ2hpanN0dXZ3eHl6g4SFhoeIiYqSk5SVlpeYmZqio6Slpqeoqaqys7S1tre4ubrCw8TFxsfIycrS09TV1tfY2drh4uPk5ebn6Onq8fLz9PX29/j5+g=="
)


class Component:
    """One colour plane of the image being decoded."""

    def __init__(self, horizontal, vertical, table):
        self.horizontal = horizontal
        self.vertical = vertical
        self.table = table
        self.codes = (0, 0)
        self.rows = []


def resize(data, width):
    """The JPEG `data` at `width` pixels, as `(jpeg, width, height)`. Raises ValueError for anything but baseline JPEG."""
    image = parse(data)
    height = max(1, round(image["height"] * width / image["width"]))
    size = next((n for n in (1, 2, 4) if image["width"] * n >= width * BLOCK), BLOCK)
    decode(image, size)
    planes = []
    across = max(part.horizontal for part in image["components"])
    down = max(part.vertical for part in image["components"])
    for index, part in enumerate(image["components"]):
        source_width = math.ceil(image["width"] * size / BLOCK * part.horizontal / across)
        source_height = math.ceil(image["height"] * size / BLOCK * part.vertical / down)
        shrink = 2 if index else 1
        rows = [row[:source_width] for row in part.rows[:source_height]]
        planes.append(scale(rows, math.ceil(width / shrink), math.ceil(height / shrink)))
    return encode(planes, width, height), width, height


def parse(data):
    """Reads the segments up to the scan."""
    image = {"quantisation": {}, "huffman": {}, "restart": 0}
    at = 2
    while data[at] == 0xFF:
        marker = data[at + 1]
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        segment = data[at + 4 : at + 2 + length]
        at += 2 + length
        if marker == 0xDB:
            for start in range(0, len(segment), 65):
                image["quantisation"][segment[start] & 15] = segment[start + 1 : start + 65]
        elif marker == 0xC4:
            image["huffman"].update(huffman_tables(segment))
        elif marker == 0xDD:
            image["restart"] = int.from_bytes(segment[:2], "big")
        elif marker == 0xC0:
            image["height"], image["width"] = (int.from_bytes(segment[i : i + 2], "big") for i in (1, 3))
            parts = [segment[i : i + 3] for i in range(6, len(segment), 3)]
            image["ids"] = [part[0] for part in parts]
            image["components"] = [Component(part[1] >> 4, part[1] & 15, part[2]) for part in parts]
        elif 0xC1 <= marker <= 0xCF and marker != 0xC8:
            raise ValueError("only baseline JPEG can be read without Pillow: deploy with --build")
        elif marker == 0xDA:
            for i in range(segment[0]):
                part = image["components"][image["ids"].index(segment[1 + 2 * i])]
                part.codes = (segment[2 + 2 * i] >> 4, segment[2 + 2 * i] & 15)
            image["scan"] = data[at:]
            return image
    raise ValueError("not a JPEG")


def huffman_tables(segment):
    """Yields `(class and id, [(code, length, symbol)])`."""
    at = 0
    while at < len(segment):
        counts = segment[at + 1 : at + 17]
        symbols = iter(segment[at + 17 : at + 17 + sum(counts)])
        codes = []
        code = 0
        for length, count in enumerate(counts, 1):
            for _ in range(count):
                codes.append((code, length, next(symbols)))
                code += 1
            code <<= 1
        yield segment[at], codes
        at += 17 + sum(counts)


def lookup(codes):
    """For each value of the next 16 bits: length << 8 | symbol."""
    table = [0] * 65536
    for code, length, symbol in codes:
        low = code << (16 - length)
        table[low : low + (1 << (16 - length))] = [length << 8 | symbol] * (1 << (16 - length))
    return table


def decode(image, size):
    """Fills each component's rows, every 8 x 8 block as `size` x `size` pixels."""
    parts = image["components"]
    tables = {key: lookup(codes) for key, codes in image["huffman"].items()}
    across = max(part.horizontal for part in parts) * BLOCK
    down = max(part.vertical for part in parts) * BLOCK
    units_across = math.ceil(image["width"] / across)
    units = units_across * math.ceil(image["height"] / down)
    for part in parts:
        width = units_across * part.horizontal * size
        part.rows = [bytearray(width) for _ in range(units // units_across * part.vertical * size)]
    basis = cosines(size, math.sqrt(size / BLOCK))
    segments = scan_segments(image["scan"])
    bits = None
    for unit in range(units):
        if unit == 0 or (image["restart"] and unit % image["restart"] == 0):
            bits = Bits(next(segments))
            last = [0] * len(parts)
        row, column = divmod(unit, units_across)
        for index, part in enumerate(parts):
            dc, ac = tables[part.codes[0]], tables[16 + part.codes[1]]
            steps = image["quantisation"][part.table]
            for v in range(part.vertical):
                for h in range(part.horizontal):
                    last[index], block = bits.block(dc, ac, steps, last[index])
                    y = (row * part.vertical + v) * size
                    x = (column * part.horizontal + h) * size
                    paint(part.rows, x, y, block, basis, size)


def scan_segments(scan):
    """The entropy-coded bytes between restart markers, unstuffed."""
    start = 0
    at = scan.find(b"\xff")
    while at >= 0:
        marker = scan[at + 1]
        if marker != 0 and marker != 0xFF:
            yield scan[start:at].replace(b"\xff\x00", b"\xff")
            if not 0xD0 <= marker <= 0xD7:
                return
            start = at + 2
        at = scan.find(b"\xff", at + 2 if marker != 0xFF else at + 1)


class Bits:
    def __init__(self, data):
        self.data = data + bytes(16)
        self.at = 0
        self.held = 0
        self.count = 0

    def block(self, dc, ac, steps, last):
        """One block: `(its DC value, {position: dequantised coefficient})`."""
        held, count = self.held, self.count
        coefficients = {}
        table = dc
        k = 0
        while k < 64:
            if count < 32:
                held = held << 64 | int.from_bytes(self.data[self.at : self.at + 8].ljust(8, b"\0"), "big")
                self.at += 8
                count += 64
            entry = table[held >> count - 16 & 0xFFFF]
            count -= entry >> 8
            symbol = entry & 0xFF
            size = symbol & 15
            value = 0
            if size:
                count -= size
                value = held >> count & (1 << size) - 1
                if value < 1 << size - 1:
                    value -= (1 << size) - 1
            held &= (1 << count) - 1
            if table is dc:
                last += value
                coefficients[0] = last * steps[0]
                table = ac
                k = 1
                continue
            k += symbol >> 4
            if size:
                coefficients[ZIGZAG[k & 63]] = value * steps[k & 63]
            elif symbol != 0xF0:
                break
            k += 1
        self.held, self.count = held, count
        return last, coefficients


def cosines(size, factor):
    """The orthonormal cosine basis of `size` points: a row for each point."""
    norm = [math.sqrt((1 if u == 0 else 2) / size) * factor for u in range(size)]
    return [[norm[u] * math.cos((2 * x + 1) * u * math.pi / (2 * size)) for u in range(size)] for x in range(size)]


def paint(rows, x, y, block, basis, size):
    """Puts one block into its plane."""
    if len(block) == 1:
        flat = bytes([clamp(block[0] / 8 + 128.5)]) * size
        for row in range(y, y + size):
            rows[row][x : x + size] = flat
        return
    lines = [None] * size
    for at, value in block.items():
        if at // 8 < size and at % 8 < size:
            line = lines[at // 8]
            if line is None:
                line = lines[at // 8] = [0] * size
            line[at % 8] = value
    zeros = [0] * size
    across = [zeros if line is None else [sum(map(mul, b, line)) for b in basis] for line in lines]
    columns = list(zip(*across))
    for row, b in enumerate(basis, y):
        rows[row][x : x + size] = bytes([clamp(sum(map(mul, b, column)) + 128.5) for column in columns])


def clamp(value):
    return 0 if value < 0 else 255 if value > 255 else int(value)


def scale(rows, width, height):
    """Bilinear; the identity when nothing changes."""
    if len(rows) == height and len(rows[0]) == width:
        return rows
    columns = list(places(len(rows[0]), width))
    result = []
    for top, bottom, part in places(len(rows), height):
        line = [a + (b - a) * part for a, b in zip(rows[top], rows[bottom])]
        result.append(bytes([int(line[a] + (line[b] - line[a]) * f + 0.5) for a, b, f in columns]))
    return result


def places(source, target):
    """For each target pixel the two source pixels around it, and how far it lies between them."""
    for at in range(target):
        place = min(max((at + 0.5) * source / target - 0.5, 0), source - 1)
        low = int(place)
        yield low, min(low + 1, source - 1), place - low


def encode(planes, width, height):
    """Baseline JPEG, colour at half resolution, about quality 85."""
    steps = bytes(max(1, (step * 30 + 50) // 100) for step in QUANTISATION)
    tables = base64.b64decode(HUFFMAN)
    (_, dc), (_, ac) = huffman_tables(tables)
    dc = {symbol: (code, length) for code, length, symbol in dc}
    ac = {symbol: (code, length) for code, length, symbol in ac}
    sampling = [2] + [1] * (len(planes) - 1) if len(planes) > 1 else [1]
    frame = bytes([8]) + height.to_bytes(2, "big") + width.to_bytes(2, "big") + bytes([len(planes)])
    frame += b"".join(bytes([i + 1, s * 17, 0]) for i, s in enumerate(sampling))
    scan = bytes([len(planes)]) + b"".join(bytes([i + 1, 0]) for i in range(len(planes))) + bytes([0, 63, 0])
    head = b"\xff\xd8" + b"".join(
        bytes([0xFF, marker]) + (len(body) + 2).to_bytes(2, "big") + body
        for marker, body in ((0xDB, b"\0" + steps), (0xC0, frame), (0xC4, tables), (0xDA, scan))
    )
    return head + entropy_code(planes, sampling, steps, dc, ac) + b"\xff\xd9"


def entropy_code(planes, sampling, steps, dc, ac):
    basis = cosines(BLOCK, 1)
    bits = BitWriter()
    last = [0] * len(planes)
    padded = [pad(rows, BLOCK * s) for rows, s in zip(planes, sampling)]
    unit = BLOCK * sampling[0]
    for row in range(len(padded[0]) // unit):
        for column in range(len(padded[0][0]) // unit):
            for index, (rows, s) in enumerate(zip(padded, sampling)):
                for v in range(s):
                    for h in range(s):
                        y = (row * s + v) * BLOCK
                        x = (column * s + h) * BLOCK
                        values = quantise([r[x : x + BLOCK] for r in rows[y : y + BLOCK]], basis, steps)
                        last[index] = bits.block(values, last[index], dc, ac)
    return bits.finish()


def pad(rows, unit):
    """Repeats the last column and row up to a multiple of `unit`."""
    missing = -len(rows[0]) % unit
    rows = [bytes(row) + bytes([row[-1]]) * missing for row in rows]
    return rows + [rows[-1]] * (-len(rows) % unit)


def quantise(lines, basis, steps):
    """The coefficients of a block in zigzag order."""
    if lines.count(lines[0]) == BLOCK and lines[0].count(lines[0][0]) == BLOCK:
        return [round((lines[0][0] - 128) * 8 / steps[0])] + [0] * 63
    frequencies = list(zip(*basis))
    across = [[sum(map(mul, f, line)) for f in frequencies] for line in lines]
    columns = list(zip(*across))
    block = [sum(map(mul, f, column)) for f in frequencies for column in columns]
    block[0] -= 1024
    return [round(block[at] / step) for at, step in zip(ZIGZAG, steps)]


class BitWriter:
    def __init__(self):
        self.held = 0
        self.count = 0
        self.parts = []

    def put(self, value, length):
        self.held = self.held << length | value
        self.count += length
        if self.count > 512:
            rest = self.count & 7
            self.parts.append((self.held >> rest).to_bytes(self.count >> 3, "big"))
            self.held &= (1 << rest) - 1
            self.count = rest

    def block(self, values, last, dc, ac):
        self.number(0, values[0] - last, dc)
        run = 0
        end = 63
        while end and values[end] == 0:
            end -= 1
        for value in values[1 : end + 1]:
            if value == 0:
                run += 1
                continue
            while run > 15:
                self.put(*ac[0xF0])
                run -= 16
            self.number(run, value, ac)
            run = 0
        if end < 63:
            self.put(*ac[0])
        return values[0]

    def number(self, run, value, codes):
        size = abs(value).bit_length()
        self.put(*codes[run << 4 | size])
        if size:
            self.put(value if value > 0 else value + (1 << size) - 1, size)

    def finish(self):
        fill = -self.count % 8
        self.put((1 << fill) - 1, fill)
        self.parts.append(self.held.to_bytes(self.count >> 3, "big"))
        return b"".join(self.parts).replace(b"\xff", b"\xff\x00")
