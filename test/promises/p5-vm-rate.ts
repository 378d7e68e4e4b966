import { readdir, readFile } from 'node:fs/promises'
import type { Sandbox } from '../../src/domain/driver.ts'
import { median, type Row } from './measure.ts'
import { privateMib, type Language } from './subject.ts'
import { fresh, newId, openSubject, restoreOf, run, vmmOf, withVms, type VmSubject } from './vm-subject.ts'

const clonesPerRate = 12
const rateRounds = 2
/** Clones of which the memory is read, each side's alive at the same time. */
const clones = 3

/** P5: fresh VMs a second, each for one invocation. P6: what an idle clone holds of its own. Both beside the driver alone, with the same snapshot. */
export default async function p5VmRate(): Promise<Row[]> {
  return withVms(async (rig) => {
    const rows: Row[] = []
    for (const language of ['node', 'python'] as const) {
      const subject = await openSubject(rig, { language, modes: ['runtime'], kinds: ['plain'] })
      try {
        rows.push(await rateRow(subject, language), await memoryRow(subject, language))
      } finally {
        await subject.close()
      }
    }
    return rows
  })
}

async function rateRow(subject: VmSubject, language: Language): Promise<Row> {
  const driver: number[] = []
  const agent: number[] = []
  for (let round = 0; round < rateRounds; round++) {
    driver.push(
      await rate(async () => {
        const { sandbox } = await fresh(subject, restoreOf(subject, 'runtime'))
        void sandbox.kill()
      }),
    )
    agent.push(await rate(() => run(subject, 'plain', 'runtime')))
  }
  return {
    promise: 'P5',
    subject: `${language}: fresh VMs a second, reuse never`,
    value: median(agent),
    unit: 'VM/s',
    limit: { what: 'the driver alone', value: median(driver) },
    bound: { op: '>=', value: 0.8 },
    note: `${vmmOf(subject.rig)}; ${rateRounds} alternating rounds of ${clonesPerRate} clones, two at a time, each answers once and is destroyed`,
    samples: { agent, driver },
  }
}

async function rate(one: () => Promise<unknown>): Promise<number> {
  const fromMs = performance.now()
  let left = clonesPerRate
  const client = async (): Promise<void> => {
    while (left-- > 0) await one()
  }
  await Promise.all([client(), client()])
  return (clonesPerRate * 1_000) / (performance.now() - fromMs)
}

/** Idle Instances that answered once, kept warm and paused, beside as many machines of the driver's that did the same. */
async function memoryRow(subject: VmSubject, language: Language): Promise<Row> {
  const { version, rig } = subject
  const { plain } = subject.agents
  if (plain === undefined) throw new Error('there is no agent')
  const kept = version('runtime')
  const versions = Array.from({ length: clones }, (_, n) => ({
    ...kept,
    functionName: `${kept.functionName}-${n}`,
    config: { ...kept.config, reuse: 'sequential' as const, freezeAfterMs: 0 },
  }))
  const before = new Set(await machines())
  for (const each of versions) await plain.run(each, {})
  const ours = (await machines()).filter((pid) => !before.has(pid))
  const sandboxes: Sandbox[] = []
  for (let n = 0; n < clones; n++) {
    const booted = await fresh(subject, restoreOf(subject, 'runtime'))
    await booted.sandbox.pause()
    sandboxes.push(booted.sandbox)
  }
  const theirs = (await machines()).filter((pid) => !before.has(pid) && !ours.includes(pid))
  const read = (pids: readonly number[], of: (pid: number) => Promise<number>) => Promise.all(pids.map(of))
  const [own, limit] = [await read(ours, privateMib), await read(theirs, privateMib)]
  const [pss, ahead] = [await read(ours, pssMib), await spareMemory(subject)]
  for (const sandbox of sandboxes) await sandbox.kill()
  await plain.agent.evict({ project: kept.project })
  return {
    promise: 'P6',
    subject: `${language}: private memory of an idle clone, with its VMM`,
    value: median(own),
    unit: 'MiB',
    limit: { what: "the driver's own", value: median(limit) },
    bound: { op: '<=', value: 1.15 },
    note: `${vmmOf(rig)}; ${own.length} and ${limit.length} clones that answered once, paused, all alive; PSS ${median(pss).toFixed(1)} MiB; a VMM that waits for its state ${ahead.toFixed(1)} MiB`,
    samples: { own, limit, pss },
  }
}

async function spareMemory({ harness, snapshots }: VmSubject): Promise<number> {
  const before = new Set(await machines())
  const spec = { instanceId: newId(), folder: harness.folder, codeImage: null, runtime: harness.build }
  const { runtime } = snapshots
  const spare = runtime && (await harness.driver.prespawn?.(runtime, spec))
  const [pid = 0] = (await machines()).filter((each) => !before.has(each))
  const mib = await privateMib(pid)
  await spare?.kill()
  return mib
}

/** QEMU processes of this machine. */
async function machines(): Promise<number[]> {
  const pids = (await readdir('/proc')).map(Number).filter(Number.isInteger)
  const names = await Promise.all(pids.map((pid) => readFile(`/proc/${pid}/comm`, 'utf8').catch(() => '')))
  return pids.filter((_, at) => names[at]?.startsWith('qemu-system') === true)
}

async function pssMib(pid: number): Promise<number> {
  return Number(/^Pss:\s+(\d+)/m.exec(await readFile(`/proc/${pid}/smaps_rollup`, 'utf8'))?.[1]) / 1024
}
