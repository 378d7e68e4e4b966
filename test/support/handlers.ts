/* One handler that does what its event says, in both languages with the same words. What it does not know, it echoes. */

export const handlers = {
  node: {
    runtime: 'node',
    handler: 'index.handler',
    file: 'index.js',
    code: `
const fs = require('node:fs')
const { spawn } = require('node:child_process')
exports.handler = async (event, context) => {
  switch (event.do) {
    case 'echo': return event
    case 'throw': throw new TypeError('thrown on purpose')
    case 'reject': return Promise.reject(new RangeError('rejected on purpose'))
    case 'hang': return new Promise(() => {})
    case 'spin': while (true) {}
    case 'exit': process.exit(3)
    case 'killed': process.kill(process.pid, 'SIGKILL'); return new Promise(() => {})
    case 'late': setTimeout(() => { throw new Error('late') }, 5); return new Promise(() => {})
    case 'binary': return Buffer.from([0, 255, 1, 254])
    case 'large': return 'x'.repeat(event.bytes)
    case 'cycle': { const a = {}; a.a = a; return a }
    case 'children': spawn('sleep', ['1000'], { stdio: 'inherit' }); return 'spawned'
    case 'oom': { const all = []; while (true) all.push(Buffer.alloc(1 << 20, 1)) }
    case 'claim': return Buffer.alloc(event.bytes, 1).length
    case 'fill': fs.writeFileSync('/tmp/big', Buffer.alloc(200 << 20)); return 1
    case 'raw': fs.writeSync(1, 'raw out\\n'); fs.writeSync(2, 'raw err\\n'); console.log('language out'); return 1
    case 'work': context.waitUntil(new Promise((r) => setTimeout(r, 300))); return 1
    case 'user': return { user: require('node:os').userInfo().username, uid: process.getuid(), pid: process.pid }
    case 'self': return { user: require('node:os').userInfo().username, address: (await require('node:dns/promises').lookup(require('node:os').hostname(), 4)).address }
    case 'context': return { id: context.awsRequestId, name: context.functionName, version: context.functionVersion, memory: Number(context.memoryLimitInMB), remaining: context.getRemainingTimeInMillis() }
    case 'cancellable': return new Promise((_, reject) => context.signal.addEventListener('abort', () => reject(new Error('stopped'))))
  }
  return event
}`,
  },
  python: {
    runtime: 'python',
    handler: 'main.handler',
    file: 'main.py',
    code: `
import os, signal, socket, subprocess, sys, time, getpass
def handler(event, context):
    do = event.get("do")
    if do == "throw": raise TypeError("thrown on purpose")
    if do == "reject": raise ValueError("rejected on purpose")
    if do == "hang": time.sleep(1000)
    if do == "spin":
        while True: pass
    if do == "exit": os._exit(3)
    if do == "killed": os.kill(os.getpid(), signal.SIGKILL)
    if do == "binary": return bytes([0, 255, 1, 254])
    if do == "large": return "x" * event["bytes"]
    if do == "cycle":
        a = {}
        a["a"] = a
        return a
    if do == "children":
        subprocess.Popen(["sleep", "1000"])
        return "spawned"
    if do == "oom":
        held = []
        while True: held.append(bytearray(b"1") * (1 << 20))
    if do == "claim": return len(b"1" * event["bytes"])
    if do == "fill":
        with open("/tmp/big", "wb") as f: f.write(bytes(200 << 20))
        return 1
    if do == "raw":
        os.write(1, b"raw out\\n"); os.write(2, b"raw err\\n"); print("language out"); return 1
    if do == "context":
        return {"id": context.aws_request_id, "name": context.function_name, "version": context.function_version, "memory": int(context.memory_limit_in_mb), "remaining": context.get_remaining_time_in_millis()}
    if do == "user": return {"user": getpass.getuser(), "uid": os.getuid(), "pid": os.getpid()}
    if do == "self": return {"user": getpass.getuser(), "address": socket.gethostbyname(socket.gethostname())}
    return event
`,
  },
} as const
