import { AppError } from '../domain/error.ts'
import { packageFiles, type PackageFile } from './debian-packages.ts'
import type { Tree } from './tree.ts'
import { addFile } from './tree-walk.ts'
import { existsSync, lstatSync, readFileSync, readlinkSync, realpathSync } from 'node:fs'

/** Programs and data of every runtime image, by Debian package. */
const packages: Readonly<Record<string, { readonly isRequired: boolean; readonly wants: RegExp }>> = {
  dash: { isRequired: true, wants: /^\/(usr\/)?bin\// },
  bash: { isRequired: false, wants: /^\/(usr\/)?bin\/r?bash$/ },
  coreutils: { isRequired: true, wants: /^\/(usr\/)?s?bin\// },
  grep: { isRequired: true, wants: /^\/(usr\/)?bin\// },
  sed: { isRequired: true, wants: /^\/(usr\/)?bin\// },
  findutils: { isRequired: false, wants: /^\/(usr\/)?bin\// },
  diffutils: { isRequired: false, wants: /^\/(usr\/)?bin\// },
  tar: { isRequired: false, wants: /^\/(usr\/)?bin\// },
  gzip: { isRequired: false, wants: /^\/(usr\/)?bin\// },
  mawk: { isRequired: false, wants: /^\/(usr\/)?bin\// },
  debianutils: { isRequired: false, wants: /^\/(usr\/)?bin\/which/ },
  hostname: { isRequired: false, wants: /^\/(usr\/)?bin\/hostname$/ },
  procps: { isRequired: false, wants: /^\/(usr\/)?bin\/(ps|pgrep|pkill|free|uptime)$/ },
  curl: { isRequired: false, wants: /^\/usr\/bin\/curl$/ },
  'libc-bin': { isRequired: false, wants: /^\/usr\/(bin\/getent$|lib\/locale\/C\.utf8\/)/ },
  tzdata: { isRequired: false, wants: /^\/usr\/share\/zoneinfo\/(?!posix\/|right\/)/ },
  netbase: { isRequired: false, wants: /^\/etc\/(services|protocols)$/ },
  'media-types': { isRequired: false, wants: /^\/etc\/mime\.types$/ },
  'ca-certificates': { isRequired: true, wants: /^\/usr\/share\/ca-certificates\/.*\.crt$/ },
}

/** Mounted over, or made to be written to, when a VM starts. */
const emptyFolders = ['dev', 'proc', 'sys', 'run', 'tmp', 'mnt', 'opt', 'var/task', 'var/cache/hearth', 'var/runtime']

const links: Readonly<Record<string, string>> = {
  bin: 'usr/bin',
  sbin: 'usr/sbin',
  lib: 'usr/lib',
  lib64: 'usr/lib64',
  'var/tmp': '/tmp',
  'var/run': '/run',
  // Written by the guest's init, which is told these.
  'etc/resolv.conf': '/run/resolv.conf',
  'etc/hosts': '/run/hosts',
  'etc/hostname': '/run/hostname',
  'etc/mtab': '/proc/self/mounts',
  'etc/localtime': '/usr/share/zoneinfo/UTC',
  // OpenSSL looks in the first, other tools at their own customary places.
  'usr/lib/ssl/openssl.cnf': '/etc/ssl/openssl.cnf',
  'usr/lib/ssl/cert.pem': '/etc/ssl/certs/ca-certificates.crt',
  'usr/lib/ssl/certs': '/etc/ssl/certs',
  'etc/ssl/cert.pem': 'certs/ca-certificates.crt',
  'etc/pki/tls/certs/ca-bundle.crt': '/etc/ssl/certs/ca-certificates.crt',
}

/** The runtime is uid 1000 in every VM. */
const etcFiles: Readonly<Record<string, string>> = {
  passwd: 'root:x:0:0:root:/root:/usr/sbin/nologin\nfunction:x:1000:1000::/tmp:/bin/sh\n',
  group: 'root:x:0:\nfunction:x:1000:\n',
  'nsswitch.conf': 'passwd: files\ngroup: files\nhosts: files dns\nservices: files\nprotocols: files\n',
  'host.conf': 'multi on\n',
  timezone: 'UTC\n',
  'ssl/openssl.cnf': '# OpenSSL with its own defaults.\n',
}

/** Adds what any program expects of a Linux: folders, /etc, a shell and its tools, certificates, time zones.
 *  Throws driver_failed when a package that images cannot do without is neither installed nor to be had. */
export function addBase(tree: Tree, { draft, skipped }: { draft: string; skipped: (what: string) => void }): void {
  for (const folder of [...emptyFolders, 'usr/bin', 'usr/sbin', 'usr/lib', 'usr/lib64']) tree.folder(folder)
  for (const [name, target] of Object.entries(links)) tree.link(name, target)
  for (const [name, content] of Object.entries(etcFiles)) tree.write(`etc/${name}`, content)
  const found = packageFiles(Object.keys(packages), draft)
  for (const [name, { isRequired, wants }] of Object.entries(packages)) {
    const files = found.get(name)
    if (files === undefined && isRequired) throw missing(name)
    if (files === undefined) skipped(`package ${name}: neither installed nor to be fetched`)
    else if (name === 'ca-certificates')
      addCertificates(
        tree,
        files.filter((file) => wants.test(file.path)),
      )
    else for (const file of files) if (wants.test(file.path)) addPackageFile(tree, file)
  }
  if (tree.get('usr/bin/sh') === undefined) tree.link('usr/bin/sh', 'dash')
  if (tree.get('usr/bin/mawk') !== undefined) tree.link('usr/bin/awk', 'mawk')
}

/** A link is kept where it leads to a neighbour, as in a package it does; any other is resolved. */
function addPackageFile(tree: Tree, { path: name, source }: PackageFile): void {
  const target = name.replace(/^\//, '').replace(/^(bin|sbin|lib\w*)\//, 'usr/$1/')
  const found = lstatSync(source)
  if (found.isDirectory()) return
  const leadsTo = found.isSymbolicLink() ? readlinkSync(source) : null
  if (leadsTo !== null && !leadsTo.includes('/')) tree.link(target, leadsTo)
  else addFile(tree, realpathSync(source), target)
}

/** The machine's own bundle, which has what its operator trusts besides; else all that the package brings. */
function addCertificates(tree: Tree, files: readonly PackageFile[]): void {
  const bundle = '/etc/ssl/certs/ca-certificates.crt'
  const pem = existsSync(bundle)
    ? readFileSync(bundle)
    : Buffer.concat(
        files.filter(({ source }) => !lstatSync(source).isDirectory()).map(({ source }) => readFileSync(source)),
      )
  tree.write('etc/ssl/certs/ca-certificates.crt', pem)
}

function missing(name: string): AppError {
  return new AppError(
    'driver_failed',
    `Cannot make an image: the Debian package "${name}" is not installed and apt cannot fetch it. Run "apt-get update", then "apt-get install ${name}" or try again.`,
    { retryable: true },
  )
}
