import type { Caller, Control } from '../domain/control.ts'
import { AppError } from '../domain/error.ts'
import type { Receipt } from '../domain/invocation.ts'
import type { Store } from '../domain/store.ts'
import type { Invoker } from './invoke.ts'
import type { ReceiptLog } from './receipts.ts'
import type { Run } from './run.ts'
import { allows, demand, forbidden } from './scopes.ts'
import { demandFunction } from './versions.ts'

interface Options {
  readonly store: Store
  readonly invoker: Invoker
  readonly receipts: ReceiptLog
}

/** Receipts of what ran, runs or waits (one that was just answered is waited for until it is known what it used); whoever may invoke a function may see and cancel its invocations. */
export function invocationsApi(options: Options): Pick<Control, 'invocation' | 'invocations' | 'cancel'> {
  return {
    async invocation(caller, id) {
      const found = await find(options, { caller, id, scope: 'functions:read' })
      return found.run === null ? found.receipt : found.run.view()
    },
    async invocations(caller, functionName, limit) {
      const scope = 'functions:read'
      if (functionName === null) demand(caller, scope)
      else await demandFunction(options.store, { caller, scope, name: functionName })
      const { active } = options.invoker
      const isMeant = ({ request }: Run): boolean =>
        request.caller.project === caller.project && (functionName === null || request.functionName === functionName)
      for (const run of [...active]) if (isMeant(run)) await run.sealed
      const going = [...active].filter((run) => isMeant(run) && run.sealed === null).map((run) => run.view())
      const ended = await options.receipts.recent(caller.project, functionName, limit)
      const endedMeanwhile = new Set(ended.map(({ id }) => id))
      return [...going.filter(({ id }) => !endedMeanwhile.has(id)), ...ended].slice(0, limit)
    },
    async cancel(caller, id) {
      const { run } = await find(options, { caller, id, scope: 'functions:write' })
      if (run === null) return false
      if (run.cancel('cancelled by request')) {
        const detail = { function: run.request.functionName }
        const entry = { actor: caller.actor, action: 'invocation.cancel', target: id, detail }
        await options.store.audit.add(caller.project, entry)
      }
      return true
    },
  }
}

/** Throws forbidden, in the same words whether or not there is such an invocation, and not_found inside the scope. */
async function find(
  { invoker, receipts }: Options,
  { caller, id, scope }: { caller: Caller; id: string; scope: string },
): Promise<{ run: Run; receipt: null } | { run: null; receipt: Receipt }> {
  const active = invoker.active.find(id)
  const mine = active?.request.caller.project === caller.project ? active : null
  const sealed = await mine?.sealed
  const run = sealed === undefined || sealed === null ? mine : null
  const found = run === null ? (sealed ?? (await receipts.find(id))) : null
  const receipt = found?.project === caller.project ? found : null
  const functionName = run?.request.functionName ?? receipt?.function
  const isAllowed =
    allows(caller.scopes, scope) || (functionName !== undefined && allows(caller.scopes, `invoke:${functionName}`))
  if (!isAllowed) throw forbidden(scope)
  if (run !== null) return { run, receipt: null }
  if (receipt !== null) return { run: null, receipt }
  throw new AppError('not_found', `There is no invocation "${id}".`)
}
