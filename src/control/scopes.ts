import type { Caller } from '../domain/control.ts'
import { AppError, invalid } from '../domain/error.ts'
import { scopeKinds } from '../domain/project.ts'

/** Whether `scopes` cover `needed`: the same scope, `admin`, or `kind:*` and the bare kind for `kind:name`. */
export function allows(scopes: readonly string[], needed: string): boolean {
  if (scopes.includes('admin') || scopes.includes(needed)) return true
  const kind = needed.split(':')[0] ?? ''
  return needed !== kind && isNamed(kind) && (scopes.includes(`${kind}:*`) || scopes.includes(kind))
}

/** Throws forbidden, in the same words whether or not what was asked for exists. */
export function demand(caller: Caller, needed: string): void {
  if (!allows(caller.scopes, needed)) throw forbidden(needed)
}

export function forbidden(needed: string): AppError {
  return new AppError('forbidden', `This key has no scope "${needed}".`)
}

/** The scopes as given, each checked to be one that exists and that `caller` has. Throws invalid, forbidden. */
export function grantable(caller: Caller, scopes: readonly string[], field: string): readonly string[] {
  for (const scope of scopes) {
    if (!isScope(scope)) throw invalid(field, scope, `one of ${scopeKinds.join(', ')}, or invoke:NAME`)
    if (!allows(caller.scopes, scope))
      throw new AppError('forbidden', `A key can only hand on scopes it has: "${scope}" is not among yours.`)
  }
  return scopes
}

function isScope(scope: string): boolean {
  if ((scopeKinds as readonly string[]).includes(scope)) return true
  const [kind = '', name = '', ...rest] = scope.split(':')
  return rest.length === 0 && kind === 'invoke' && /^(\*|[A-Za-z0-9_-]{1,64})$/.test(name)
}

const isNamed = (kind: string): boolean => kind === 'invoke'
