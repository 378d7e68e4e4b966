import { appendFile, cp, mkdir, rename, rm, writeFile } from 'node:fs/promises'
import { existsSync } from 'node:fs'
import { dirname, join } from 'node:path'

/** Copied from the machine when they are there: what libc, OpenSSL and time zones need, and nothing that names the machine or its users. */
const copied = [
  'ld.so.cache',
  'ld.so.conf',
  'ld.so.conf.d',
  'ssl/certs/ca-certificates.crt',
  'ssl/openssl.cnf',
  'ca-certificates.conf',
  'mime.types',
  'services',
  'protocols',
  'localtime',
  'alternatives',
]

/** Name service of a sandbox: its own host file, then the resolver that the launcher puts at this address when the function has egress. */
const written: Readonly<Record<string, string>> = {
  passwd: 'root:x:0:0:root:/nonexistent:/usr/sbin/nologin\n',
  group: 'root:x:0:\n',
  hosts: '127.0.0.1 localhost hearth\n::1 localhost\n',
  hostname: 'hearth\n',
  'nsswitch.conf': 'passwd: files\ngroup: files\nhosts: files dns\nservices: files\nprotocols: files\n',
  'host.conf': 'multi on\n',
  timezone: 'UTC\n',
}

export interface EtcOptions {
  /** Address at which a sandbox with egress finds its resolver. */
  readonly nameServer: string
  /** The sandboxes' uids: each is the user `function`, for programs that ask who they are (`os.userInfo`, `getpass`). */
  readonly uids: { readonly first: number; readonly count: number }
}

/** Makes the read-only `/etc` of all sandboxes in `folder`, anew at each start of the platform. */
export async function prepareEtc(folder: string, { nameServer, uids }: EtcOptions): Promise<void> {
  const draft = `${folder}.draft`
  await rm(draft, { recursive: true, force: true })
  await mkdir(draft, { recursive: true, mode: 0o755 })
  for (const [name, content] of Object.entries({
    ...written,
    'resolv.conf': `nameserver ${nameServer}\noptions timeout:2\n`,
  }))
    await writeFile(join(draft, name), content, { mode: 0o644 })
  await writeUsers(draft, uids)
  for (const name of copied) {
    const source = join('/etc', name)
    if (!existsSync(source)) continue
    await mkdir(dirname(join(draft, name)), { recursive: true })
    await cp(source, join(draft, name), { recursive: true, dereference: name !== 'alternatives' })
  }
  // Tools that look for the bundle at its other customary places.
  await mkdir(join(draft, 'pki/tls/certs'), { recursive: true })
  const bundle = join(draft, 'ssl/certs/ca-certificates.crt')
  if (existsSync(bundle)) {
    await cp(bundle, join(draft, 'ssl/cert.pem'))
    await cp(bundle, join(draft, 'pki/tls/certs/ca-bundle.crt'))
  }
  await rm(folder, { recursive: true, force: true })
  await rename(draft, folder)
}

async function writeUsers(folder: string, { first, count }: { first: number; count: number }): Promise<void> {
  const ids = Array.from({ length: count }, (_, n) => first + n)
  const users = ids.map((id) => `function:x:${id}:${id}::/tmp:/bin/sh\n`)
  await appendFile(join(folder, 'passwd'), users.join(''))
  await appendFile(join(folder, 'group'), ids.map((id) => `function:x:${id}:\n`).join(''))
}
