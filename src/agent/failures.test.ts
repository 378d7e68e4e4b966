import assert from 'node:assert/strict'
import { test } from 'node:test'
import { defaultConfig } from '../domain/default-config.ts'
import type { FunctionConfig } from '../domain/function.ts'
import { initTimeout } from './failures.ts'

test('initTimeout names the program and what it did not do, by its contract', () => {
  const said = (config: Partial<FunctionConfig>): string =>
    initTimeout({ ...defaultConfig('x86_64'), initTimeoutMs: 1_500, port: 3456, ...config }).error.errorMessage
  const command = ['python3', 'server.py']
  assert.equal(said({}), 'The function did not load within 1.50 seconds (initTimeoutMs).')
  assert.equal(
    said({ contract: 'http', command }),
    '"python3 server.py" did not accept a connection on port 3456 within 1.50 seconds (initTimeoutMs).',
  )
  assert.match(said({ contract: 'http' }), /^The program \(bootstrap or run\.sh\) did not accept a connection/)
  assert.match(said({ runtime: 'image', contract: 'http' }), /^The program \(the image's own command\) did not accept/)
  assert.match(said({ contract: 'azure' }), /^The program \(defaultExecutablePath of host\.json\) did not accept/)
  assert.match(said({ contract: 'runtime-api' }), /^The program \(bootstrap\) was not ready for its first invocation/)
})
