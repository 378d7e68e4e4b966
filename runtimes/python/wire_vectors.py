"""Runs the golden vectors given as the first argument; prints what differs and exits 1, or prints how many passed."""

import json
import sys

sys.path.insert(0, __file__.rpartition("/")[0])

from hearth_wire import FrameDecoder, WireError, encode_frame  # noqa: E402


def decode(data, size):
    decoder = FrameDecoder()
    frames = []
    for at in range(0, len(data), size):
        frames += decoder.push(data[at : at + size])
    return frames


def main(file):
    with open(file) as source:
        vectors = json.load(source)
    count = 0
    for vector in vectors["valid"]:
        data = bytes.fromhex(vector["hex"])
        expected = [(f["type"], f["flags"], f["stream"], bytes.fromhex(f["payloadHex"])) for f in vector["frames"]]
        for size in (1, 2, 5, 11, 12, 13, 1000, 65536, 1000000):
            assert decode(data, size) == expected, f"{vector['name']} in pieces of {size}"
        assert b"".join(encode_frame(*frame) for frame in expected) == data, f"{vector['name']} encoded"
        count += 1
    for vector in vectors["invalid"]:
        for size in (1, 12, 1000):
            try:
                decode(bytes.fromhex(vector["hex"]), size)
                raise AssertionError(f"{vector['name']} was accepted")
            except WireError as error:
                assert error.kind == vector["error"], f"{vector['name']}: {error.kind}"
        count += 1
    print(count)


main(sys.argv[1])
