/** How the simulator sees files. In its jail the real program's root is the jail's; this one has no chroot, since it needs Node and QEMU, so the
 *  jailer starts it with the jail as its current folder, and every path, absolute or not, counts from there. Relative paths need
 *  no rights on the folders above, and are short enough for a socket's name. */
export interface JailView {
  path(name: string): string
  /** For the simulator's own sockets. */
  readonly workFolder: string
}

export function jailView(isJailed: boolean): JailView {
  if (!isJailed) return { path: (name) => name, workFolder: `/tmp/fc-sim-${process.pid}` }
  return { path: (name) => `./${name.replace(/^\/+/, '')}`, workFolder: './.fc-sim' }
}
