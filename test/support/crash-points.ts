import assert from 'node:assert/strict'
import { setTimeout as delay } from 'node:timers/promises'
import { call, deployFiles, invoke, updateFiles } from './functions.ts'
import { leftovers } from './leftovers.ts'
import { startPlatform, type Platform } from './platform.ts'
import type { Random } from './seeded.ts'

/** What a user does in a loop until the platform dies under them. */
const steps = ['create', 'invoke', 'update', 'publish'] as const
type Step = (typeof steps)[number]

/** How long a step is thought to take before it was seen: a kill falls somewhere into it. */
const firstStepMs: Readonly<Record<Step, number>> = { create: 100, invoke: 10, update: 60, publish: 10 }

/** A receipt is on disk 100 ms after its invocation, a log line 50 ms; the rest is for a loaded machine. */
const settledMs = 400

/** All that the platform said yes to. */
class Acknowledged {
  /** Highest acknowledged version of each function. */
  readonly versions = new Map<string, number>()
  /** Invocations by id: when their answers came. */
  readonly invocations = new Map<string, { name: string; atMs: number }>()
  /** How long each step took last. */
  readonly stepMs = { ...firstStepMs }
}

export interface KillOptions {
  readonly points: number
  readonly random: Random
  /** Whether some kills hit the launcher, or the platform while it starts. */
  readonly isWide?: boolean
}

/** Kills the platform with SIGKILL at seeded moments of deploying and invoking, restarting it on the same data each time; after each kill nothing
 *  runs, after each start everything acknowledged is there. Resolves with the last running platform and how often each step was hit. */
export async function killAtPoints(
  data: string,
  { points, random, isWide = false }: KillOptions,
): Promise<{ platform: Platform; hits: Record<string, number> }> {
  const known = new Acknowledged()
  const hits: Record<string, number> = {}
  let platform = await startPlatform({ data, keepData: true })
  try {
    for (let point = 0; point < points; point++) {
      const { killedAtMs, where } = await killOnce(platform, `crash-${point}`, {
        known,
        random,
        hits,
        isWide,
        step: steps[point % steps.length] ?? 'create',
      })
      platform = await startPlatform({ data, keepData: true })
      assert.deepEqual(leftovers(data).filter(isDraft), [], `drafts after ${where}`)
      await checkVersions(platform, known, { random, where })
      await checkRecords(platform, known, { killedAtMs, where })
    }
    for (const name of known.versions.keys()) await checkAnswer(platform, name, { known, where: 'the last kill' })
  } catch (error) {
    await platform.stop()
    throw error
  }
  return { platform, hits }
}

interface KillContext {
  readonly known: Acknowledged
  readonly random: Random
  readonly hits: Record<string, number>
  readonly isWide: boolean
  readonly step: Step
}

async function killOnce(
  platform: Platform,
  name: string,
  { known, random, hits, isWide, step }: KillContext,
): Promise<{ killedAtMs: number; where: string }> {
  const { data } = platform
  const hit = (what: string): number => (hits[what] = (hits[what] ?? 0) + 1)
  const user = new User(platform, name, known)
  const work = user.run()
  work.catch(() => {}) // Awaited after the kill.
  await user.begun(step)
  await delay(random.next() * known.stepMs[step])
  const where = `the kill of ${name} at ${user.step}`
  hit(user.step)
  user.isDoomed = true
  const killedAtMs = performance.now()
  const isLauncher = isWide && random.below(5) === 0
  if (isLauncher) {
    hit('launcher')
    await platform.killLauncher9()
  } else await platform.kill9()
  await work
  // Drafts of uploads wait for the next start; a dead launcher's cgroups and folders do as well.
  const left = leftovers(data).filter((found) => !isDraft(found))
  const isAlive = (found: string): boolean => /^(?:process|mount) /.test(found)
  assert.deepEqual(isLauncher ? left.filter(isAlive) : left, [], `left after ${where}`)
  if (isWide && random.below(5) === 0) {
    hit('start')
    await killWhileStarting(data, random)
  }
  return { killedAtMs, where }
}

/** One function's life: created, invoked, updated, invoked, updated ... */
class User {
  step: Step = 'create'
  /** From here on nothing has to succeed. */
  isDoomed = false
  readonly #platform: Platform
  readonly #name: string
  readonly #known: Acknowledged
  readonly #begun = new Map(steps.map((step) => [step, Promise.withResolvers<void>()]))

  constructor(platform: Platform, name: string, known: Acknowledged) {
    this.#platform = platform
    this.#name = name
    this.#known = known
  }

  async begun(step: Step): Promise<void> {
    await this.#begun.get(step)?.promise
  }

  /** Runs until the platform dies under it. */
  async run(): Promise<void> {
    try {
      await this.#do('create', () => deployFiles(this.#platform, this.#deployment(1)))
      this.#known.versions.set(this.#name, 1)
      for (let version = 2; ; version++) {
        for (let n = 0; n < 10; n++) await this.#do('invoke', () => this.#invoke())
        const isCode = version % 2 === 0
        await (isCode
          ? this.#do('update', () => updateFiles(this.#platform, this.#deployment(version)))
          : this.#do('publish', async () => {
              const { status } = await call(this.#platform, 'PATCH', `/v1/functions/${this.#name}`, {
                env: { VERSION: String(version) },
              })
              assert.equal(status, 200)
            }))
        this.#known.versions.set(this.#name, version)
      }
    } catch (error) {
      for (const { resolve } of this.#begun.values()) resolve()
      // The kill ends this on purpose; anything before it is a failure of the platform.
      if (!this.isDoomed) throw error
    }
  }

  async #do(step: Step, act: () => Promise<void>): Promise<void> {
    this.step = step
    this.#begun.get(step)?.resolve()
    const startedMs = performance.now()
    await act()
    this.#known.stepMs[step] = performance.now() - startedMs
  }

  #deployment(version: number): Parameters<typeof deployFiles>[1] {
    return {
      name: this.#name,
      runtime: 'node',
      handler: 'index.handler',
      files: { 'index.js': `${source}// ${this.#name} ${version}\n` },
      config: { env: { VERSION: String(version) } },
    }
  }

  async #invoke(): Promise<void> {
    const reply = await invoke(this.#platform, this.#name, { ms: 5 })
    assert.equal(reply.status, 200, reply.body.toString())
    this.#known.invocations.set(reply.headers.get('hearth-invocation-id') ?? '', {
      name: this.#name,
      atMs: performance.now(),
    })
  }
}

const isDraft = (found: string): boolean => found.startsWith('folder tmp/')

const source = `
exports.handler = async ({ ms = 0 }, { awsRequestId }) => {
  await new Promise((resolve) => setTimeout(resolve, ms))
  console.log('ran', awsRequestId)
  return Number(process.env.VERSION)
}
`

/** SIGKILL to the whole start, between its first moment and about when it is ready. */
async function killWhileStarting(data: string, random: Random): Promise<void> {
  const signal = AbortSignal.timeout(Math.ceil(random.next() * 700))
  const started = await startPlatform({ data, keepData: true, signal }).catch((error: unknown) => {
    if (!signal.aborted) throw error
    return null
  })
  // Ready before its time: then this is one more kill of a running platform.
  await started?.kill9()
}

async function checkVersions(
  platform: Platform,
  known: Acknowledged,
  { random, where }: { random: Random; where: string },
): Promise<void> {
  const names = [...known.versions.keys()]
  for (const name of names) {
    const reply = await call(platform, 'GET', `/v1/functions/${name}`)
    assert.equal(reply.status, 200, `${name} after ${where}: ${reply.body.toString()}`)
  }
  const asked = new Set([...names.slice(-2), ...(names.length > 0 ? [random.pick(names), random.pick(names)] : [])])
  for (const name of asked) await checkAnswer(platform, name, { known, where })
}

/** A version that was being made when the platform died may be there or not: nobody was told. */
async function checkAnswer(
  platform: Platform,
  name: string,
  { known, where }: { known: Acknowledged; where: string },
): Promise<void> {
  const reply = await invoke(platform, name)
  const wanted = known.versions.get(name) ?? 0
  const text = `${name} after ${where}: ${reply.status} ${reply.body.toString()}`
  assert.equal(reply.status, 200, text)
  assert.ok([wanted, wanted + 1].includes(reply.json<number>()), `${text}, acknowledged ${wanted}`)
}

/** Receipts and log lines of what was answered long enough before the kill; each is looked for once. */
async function checkRecords(
  platform: Platform,
  known: Acknowledged,
  { killedAtMs, where }: { killedAtMs: number; where: string },
): Promise<void> {
  const logs = new Map<string, string>()
  for (const [id, { name, atMs }] of known.invocations) {
    known.invocations.delete(id)
    if (killedAtMs - atMs < settledMs) continue
    const receipt = await call(platform, 'GET', `/v1/invocations/${id}`)
    assert.equal(receipt.status, 200, `receipt of ${id}, ${killedAtMs - atMs} ms old at ${where}`)
    assert.equal(receipt.json<{ outcome: string }>().outcome, 'succeeded')
    const log = logs.get(name) ?? (await call(platform, 'GET', `/v1/functions/${name}/logs?tail=10000`)).body.toString()
    logs.set(name, log)
    assert.ok(log.includes(`ran ${id}`), `log line of ${id}, ${killedAtMs - atMs} ms old at ${where}`)
  }
}
