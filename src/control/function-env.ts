import { invalid } from '../domain/error.ts'
import { limits } from '../domain/limits.ts'
import { execWrapper, type Contract } from '../domain/runtime.ts'

type Variables = Readonly<Record<string, string>>

/** What the runtimes and the bridge set, and Lambda reserves as well; the rest of what they set (region, time zone, addresses) is the user's to
 *  change. `HEARTH_` is the platform's own. Twins: `environment` of guest/src/bridge/bind.rs, runtimes/node/runtime.cjs, runtimes/python/hearth_runtime.py. */
const reserved = new Set([
  '_HANDLER',
  '_X_AMZN_TRACE_ID',
  'LAMBDA_TASK_ROOT',
  'LAMBDA_RUNTIME_DIR',
  'AWS_LAMBDA_FUNCTION_NAME',
  'AWS_LAMBDA_FUNCTION_VERSION',
  'AWS_LAMBDA_FUNCTION_MEMORY_SIZE',
  'AWS_LAMBDA_LOG_GROUP_NAME',
  'AWS_LAMBDA_LOG_STREAM_NAME',
  'AWS_LAMBDA_INITIALIZATION_TYPE',
  'AWS_LAMBDA_RUNTIME_API',
])
const isReserved = (name: string): boolean => reserved.has(name) || name.startsWith('HEARTH_')

/** And what a contract's own platform sets. */
const contractNames: Readonly<Record<Contract, readonly string[]>> = {
  handler: [],
  'runtime-api': [],
  http: ['PORT', 'K_SERVICE', 'K_REVISION', 'K_CONFIGURATION'],
  azure: ['FUNCTIONS_CUSTOMHANDLER_PORT'],
}

const envName = /^[A-Za-z_][A-Za-z0-9_]*$/
const secretName = /^[A-Za-z0-9_-]{1,64}$/

/** A function's variables. Throws invalid, naming the variable. */
export function parseEnv(value: Variables, contract: Contract): Variables {
  for (const [name, content] of Object.entries(value)) {
    checkName(`env.${name}`, name, contract)
    if (typeof content !== 'string' || content.includes('\0'))
      throw invalid(`env.${name}`, content, 'a text without NUL')
  }
  const bytes = Object.entries(value).reduce(
    (sum, [name, content]) => sum + Buffer.byteLength(name) + Buffer.byteLength(content),
    0,
  )
  if (bytes > limits.envBytesMax)
    throw invalid('env', `${bytes} bytes`, `at most ${limits.envBytesMax} bytes of names and values together`)
  return value
}

/** Which secret becomes which variable. Throws invalid, naming the variable. */
export function parseSecrets(value: Variables, env: Variables, contract: Contract): Variables {
  for (const [name, secret] of Object.entries(value)) {
    checkName(`secrets.${name}`, name, contract)
    if (!secretName.test(secret)) throw invalid(`secrets.${name}`, secret, 'the name of a secret')
    if (Object.hasOwn(env, name)) throw invalid(`secrets.${name}`, name, 'a name that is not in env as well')
  }
  return value
}

function checkName(field: string, name: string, contract: Contract): void {
  if (!envName.test(name))
    throw invalid(field, name, 'a name of letters, digits and "_" that does not start with a digit')
  if (isReserved(name)) throw invalid(field, name, 'a name that the platform does not set itself')
  checkContractName(field, name, contract)
  checkWrapper(field, name, contract)
}

/** What the platform sets wins: a value that goes unheard must not look as if it were taken. */
function checkContractName(field: string, name: string, contract: Contract): void {
  if (!contractNames[contract].includes(name)) return
  const fix = name.endsWith('PORT') ? 'to have the program listen elsewhere, set the port (--port)' : 'leave it out'
  throw invalid(
    field,
    name,
    'a name that the platform does not set itself',
    `Invalid ${field}: with contract ${contract} the platform sets ${name} itself; ${fix}.`,
  )
}

/** A handler's runtime runs before it is known whose: nothing can be put before it any more. */
function checkWrapper(field: string, name: string, contract: Contract): void {
  if (name !== execWrapper || contract !== 'handler') return
  throw invalid(
    field,
    name,
    'left out with contract handler',
    `${name} cannot be honoured with contract "handler": its runtime is started before it is known for which function. Take contract runtime-api, with AWS's runtime interface client as the command.`,
  )
}
