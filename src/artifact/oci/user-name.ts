/** A larger list of accounts stays as it is. Twin: BYTES_MAX in guest/src/accounts.rs. */
export const accountBytesMax = 256 * 1024

/** Of everybody in sandboxes whose image says nothing else. */
const anonymous = 'function'

/** The name of an image's USER (`name`, `uid`, each with `:group`, or nothing) by its `/etc/passwd`; `function` where it has none, or is root. */
export function userName(user: string, passwd: string): string {
  const [who = ''] = user.split(':')
  const name = /^\d+$/.test(who) ? nameOf(who, passwd) : who
  return name === 'root' || !/^[\w.-]{1,64}$/.test(name) ? anonymous : name
}

function nameOf(uid: string, passwd: string): string {
  const accounts = passwd.split('\n').map((line) => line.split(':'))
  return accounts.find((fields) => fields[2] === uid)?.[0] ?? ''
}
