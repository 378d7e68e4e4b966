import net from 'node:net'

/* Run in a network namespace: what connects to the UNIX socket (first argument) reaches the port (second) of its loopback. */

const [socket, port] = process.argv.slice(2)

net
  .createServer((near) => {
    const far = net.connect(Number(port), '127.0.0.1')
    near.pipe(far).pipe(near)
    near.on('error', () => far.destroy())
    far.on('error', () => near.destroy())
  })
  .listen(socket, () => console.log('ready'))
