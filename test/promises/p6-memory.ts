import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { median, type Row } from './measure.ts'
import {
  deploy,
  handlerFolder,
  handlers,
  invoke,
  invokeHeaders,
  privateMib,
  withPlatform,
  type Language,
} from './subject.ts'
import type { Platform } from '../support/platform.ts'

/** P6: private memory of an idle Instance beside the bare interpreter holding the same handler, and the platform's own RSS. */
export default async function p6Memory(folder: string): Promise<Row[]> {
  return withPlatform(folder, {}, async (platform) => {
    const rows: Row[] = []
    for (const language of ['node', 'python'] as const) {
      const name = `memory-${language}`
      await deploy(platform, folder, { language, name })
      await invoke(platform, name)
      await new Promise((resolve) => setTimeout(resolve, 1500))
      const executable = await executableOf(platform, language)
      const idle = await Promise.all((await runtimePids(executable)).map(privateMib))
      rows.push({
        promise: 'P6',
        subject: `${language}: private memory of an idle Instance`,
        value: median(idle),
        unit: 'MiB',
        limit: { what: 'bare interpreter with the same handler', value: await bareMib(folder, language, executable) },
        bound: { op: '<=', value: 1.15 },
        note: `median of ${idle.length} booted and bound Instances`,
      })
    }
    const status = await readFile(`/proc/${platform.pid}/status`, 'utf8')
    rows.push({
      promise: 'P6',
      subject: 'agent and control, resident',
      value: Number(/VmRSS:\s+(\d+)/.exec(status)?.[1]) / 1024,
      unit: 'MiB',
      limit: null,
      bound: { op: '<=', value: 150 },
      note: 'one process, after the invocations above',
    })
    return rows
  })
}

async function executableOf(platform: Platform, language: Language): Promise<string> {
  const headers = invokeHeaders(platform)
  const view = (await (await fetch(`${platform.url}/v1/functions/memory-${language}`, { headers })).json()) as {
    runtimeVersion: string
  }
  const runtimes = (await (await fetch(`${platform.url}/v1/runtimes`, { headers })).json()) as {
    items: { version: string; family: string; executable: string }[]
  }
  const build = runtimes.items.find((item) => item.family === language && item.version === view.runtimeVersion)
  if (build === undefined) throw new Error(`No ${language} ${view.runtimeVersion} among the runtimes of this node.`)
  return build.executable
}

/** Processes that run the shim on this interpreter. */
async function runtimePids(executable: string): Promise<number[]> {
  const { readdir } = await import('node:fs/promises')
  const pids = (await readdir('/proc')).map(Number).filter((pid) => Number.isInteger(pid))
  const found: number[] = []
  for (const pid of pids) {
    const line = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')
    if (line.startsWith(`${executable}\0`) && line.includes('/var/runtime/bootstrap')) found.push(pid)
  }
  return found
}

async function bareMib(folder: string, language: Language, executable: string): Promise<number> {
  const code = await handlerFolder(folder, language)
  await mkdir(path.join(folder, 'bare'), { recursive: true })
  const node = `require(${JSON.stringify(path.join(code, handlers.node.file))}); process.stdout.write('up'); setInterval(() => {}, 1e9)`
  const python = `import sys, json, time\nsys.path.insert(0, ${JSON.stringify(code)})\nimport main\nprint("up", flush=True)\ntime.sleep(1e6)`
  const main = path.join(folder, 'bare', language === 'node' ? 'idle.cjs' : 'idle.py')
  await writeFile(main, language === 'node' ? node : python)
  const child = spawn(executable, [main], { stdio: ['ignore', 'pipe', 'inherit'] })
  await once(child.stdout, 'data')
  await new Promise((resolve) => setTimeout(resolve, 1500))
  const mib = await privateMib(child.pid ?? 0)
  child.kill('SIGKILL')
  return mib
}
