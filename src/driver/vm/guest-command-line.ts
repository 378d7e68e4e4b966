/** The same for every VMM from here on: root image, init, the epoch of its first HELLO. */
export function guestCommandLine(words: readonly string[], epoch: string): string {
  const own = ['root=/dev/vda', 'rootfstype=erofs', 'ro', 'init=/usr/lib/hearth/hearth-guest', `hearth.epoch=${epoch}`]
  // The last word is the guest program's own. Without the usual "--": QEMU adds its devices behind it, and they are the kernel's.
  return [...words, ...own, 'init'].join(' ')
}
