import { directContract } from '../../src/domain/default-config.ts'
import type { BindMessage } from '../../src/wire/messages.ts'

/** A BIND that is whole, for tests of which it matters only in part. */
export const bindMessage: BindMessage = {
  function: 'f',
  version: '1',
  project: 'default',
  handler: 'index.handler',
  memoryMib: 256,
  timeoutMs: 30_000,
  env: {},
  taskRoot: '/var/task',
  cacheRoot: null,
  apiUrl: '',
  region: 'local',
  accountId: '0',
  logGroup: 'g',
  logStream: 's',
  purpose: 'serve',
  ...directContract,
}
