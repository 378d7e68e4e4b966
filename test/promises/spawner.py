"""Starts programs for the benchmarks from a small process and times them from inside it: a spawn from the benchmark's own large Node
process would be slower, and so make every limit easier to keep. One JSON request a line on stdin, one reply a line on stdout:
{"argv": [...], "input": text, "isBooted": bool} -> {"ms": number}. With isBooted the program says a line when it is up, gets its
input then, and the time runs from there to its answer."""

import json
import os
import sys
import time


def run(argv, data, is_booted):
    in_read, in_write = os.pipe()
    out_read, out_write = os.pipe()
    actions = [(os.POSIX_SPAWN_DUP2, in_read, 0), (os.POSIX_SPAWN_DUP2, out_write, 1)]
    if not is_booted:
        os.write(in_write, data)
    started_at = time.perf_counter()
    pid = os.posix_spawn(argv[0], argv, {"PATH": os.environ["PATH"], "HOME": "/tmp"}, file_actions=actions)
    os.close(out_write)
    answer = os.read(out_read, 65536)
    if is_booted:
        # Time to be idle in, as an Instance in the pool is.
        time.sleep(0.05)
        started_at = time.perf_counter()
        os.write(in_write, data)
        answer = os.read(out_read, 65536)
    ms = (time.perf_counter() - started_at) * 1000
    os.close(in_read)
    os.close(in_write)
    os.close(out_read)
    _, status = os.waitpid(pid, 0)
    if status != 0 or not answer:
        raise RuntimeError(f"{argv} ended with {status}")
    return ms


for line in sys.stdin:
    request = json.loads(line)
    reply = {"ms": run(request["argv"], request["input"].encode(), request["isBooted"])}
    print(json.dumps(reply), flush=True)
