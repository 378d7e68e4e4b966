import { execFileSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import path from 'node:path'
import { interpreterFlags } from '../../src/domain/runtime.ts'
import { runtimeHarness, type Harness } from './harness.ts'

/* The runtimes as real processes without a sandbox. HEARTH_TEST_NODE and HEARTH_TEST_PYTHON name other interpreters to run them on. */

const runtimes = path.resolve(import.meta.dirname, '..')

export const python = process.env['HEARTH_TEST_PYTHON'] ?? '/usr/bin/python3'
export const pythonMissing = existsSync(python) ? false : `${python} is not installed`

export const nodeShim = path.join(runtimes, 'node')

/** Node as the platform starts it. */
export const node: readonly string[] = (() => {
  const program = process.env['HEARTH_TEST_NODE'] ?? process.execPath
  const version = execFileSync(program, ['-p', 'process.versions.node'], { encoding: 'utf8' })
  return [program, ...interpreterFlags({ family: 'node', version })]
})()

/** `bundle` names one that was made by bundle.cjs. */
export function nodeHarness(bundle?: string): Harness {
  const argv = [...node, path.join(nodeShim, 'bootstrap.cjs'), ...(bundle === undefined ? [] : [bundle])]
  return runtimeHarness(argv, 'index.handler')
}

export const pythonShim = path.join(runtimes, 'python')

/** `bundle` names one that was made by bundle.py. */
export function pythonHarness(bundle?: string): Harness {
  const argv = [python, '-I', '-S', path.join(pythonShim, 'bootstrap.py'), ...(bundle === undefined ? [] : [bundle])]
  return runtimeHarness(argv, 'main.handler')
}
