import net from 'node:net'

/* Runs as the launcher's child: joins its control socket (fd 3) with a socket of the test that wants to speak to it. */

const control = new net.Socket({ fd: 3, readable: true, writable: true })
const test = net.connect(process.argv[2] ?? '')
control.pipe(test)
test.pipe(control)
for (const socket of [control, test]) {
  socket.on('error', () => process.exit(0))
  socket.on('close', () => process.exit(0))
}
