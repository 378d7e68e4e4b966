/* What tests on microVMs need beside programs: a kernel and root images in the cache of this machine, where the platforms that tests start find them. */
import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

const hearth = path.join(path.dirname(fileURLToPath(import.meta.url)), '../bin/hearth')

/** Building takes 6 to 7 minutes on two free cores; the tests until then take about as long. */
const kernelTimeLimitS = 600

/** As `cacheFolder` in src/main/images.ts. */
const cache =
  process.getuid?.() === 0
    ? '/var/cache/hearth'
    : path.join(process.env.XDG_CACHE_HOME ?? path.join(os.homedir(), '.cache'), 'hearth')

export const hasVms = process.platform === 'linux' && process.arch === 'x64'

/** Starts to build the kernel, or finds it built, beside the tests and out of their way: it runs only when a core is idle.
 *  `finish` waits for it, takes Debian's where no kernel is in use, and builds the images. Each says in a line what came of it. */
export function startVmParts(env) {
  if (!hasVms) return { finish: async () => {} }
  const build = call(
    'chrt',
    ['-i', '0', hearth, 'kernel', 'build', '--profile', 'ci', '--time-limit', `${kernelTimeLimitS}`],
    env,
  )
  return {
    async finish() {
      console.log('\n== kernel and images of microVMs')
      const built = await build
      console.log(built.code === 0 ? built.output : `Not built: ${built.output}`)
      const hasKernel = existsSync(path.join(env.HEARTH_CACHE ?? cache, 'kernels/current'))
      if (built.code !== 0 && hasKernel) console.log('The kernel that is in use stays.')
      if (!hasKernel) console.log((await call(hearth, ['kernel', 'use', 'debian'], env)).output)
      for (const runtime of ['node', 'python'])
        console.log((await call(hearth, ['image', 'build', runtime], env)).output)
    },
  }
}

function call(program, args, env) {
  return new Promise((resolve) => {
    const child = spawn(program, args, { env, stdio: ['ignore', 'pipe', 'pipe'] })
    let output = ''
    for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (text) => (output += text))
    child.on('error', (error) => resolve({ code: 1, output: error.message }))
    child.on('close', (code) => resolve({ code: code ?? 1, output: output.trim() }))
  })
}
