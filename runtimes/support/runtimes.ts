import { existsSync } from 'node:fs'
import path from 'node:path'
import { runtimeHarness, type Harness } from './harness.ts'

/* The runtimes as real processes without a sandbox. HEARTH_TEST_NODE and HEARTH_TEST_PYTHON name other interpreters to run them on. */

const runtimes = path.resolve(import.meta.dirname, '..')

export const python = process.env['HEARTH_TEST_PYTHON'] ?? '/usr/bin/python3'
export const pythonMissing = existsSync(python) ? false : `${python} is not installed`

export function nodeHarness(): Harness {
  const node = process.env['HEARTH_TEST_NODE'] ?? process.execPath
  return runtimeHarness([node, path.join(runtimes, 'node/bootstrap.cjs')], 'index.handler')
}

export function pythonHarness(): Harness {
  return runtimeHarness([python, '-I', '-S', path.join(runtimes, 'python/bootstrap.py')], 'main.handler')
}
