import { z } from 'zod'
import { codeOrigin, codeSource } from './code-schemas.ts'
import { digest } from './digest.ts'

/* Shapes of the HTTP API. Names and limits: docs/reference/contracts.md. Times are epoch ms in fields that end in `At`. */

export const functionName = z.string().regex(/^[A-Za-z0-9_-]{1,64}$/, 'must be 1 to 64 letters, digits, "-" or "_"')
export const secretName = z.string().regex(/^[A-Za-z0-9_-]{1,64}$/, 'must be 1 to 64 letters, digits, "-" or "_"')
export { digest }
export const hex = z.string().regex(/^(sha256:)?[0-9a-f]{64}$/, 'must be 64 hex digits')

export { codeSource }

/** What a user may set of a Function; ranges are checked by the platform, which names field, value and range. */
export const configFields = {
  description: z.string().optional().describe('At most 256 characters.'),
  runtime: z
    .string()
    .optional()
    .describe('`node`, `python`, `provided`, `http`, or one of `GET /v1/runtimes`; pinned at deploy.'),
  handler: z
    .string()
    .optional()
    .describe(
      'FILE.EXPORT, e.g. `index.handler`; `main.handler` for Python: a path below the code, without spaces or `..`. Needed with contract `handler`.',
    ),
  contract: z
    .string()
    .optional()
    .describe(
      'How the code is spoken to: `handler` (default of node and python), `runtime-api` (of provided), `http` (of http), `azure`.',
    ),
  command: z
    .array(z.string())
    .optional()
    .describe('Program and arguments to start, for any contract but `handler`; default: what the contract has.'),
  port: z.number().optional().describe('Where a program with contract `http` listens ($PORT): default 8080.'),
  instanceConcurrency: z
    .number()
    .optional()
    .describe(
      'Requests that one Instance serves at a time: 1 to 80, default 1; more than 1 with contract `http` only.',
    ),
  memoryMib: z.number().optional().describe('128 to 2048, default 256.'),
  timeoutMs: z.number().optional().describe('1000 to 300000, default 30000.'),
  initTimeoutMs: z.number().optional().describe('Limit of one start: 100 to 300000, default 10000.'),
  concurrency: z.number().optional().describe('Invocations at a time: 1 to 100, default 10.'),
  ephemeralMib: z.number().optional().describe('Size of /tmp: 64 to 10240, default 512.'),
  env: z.record(z.string(), z.string()).optional().describe('Names and values together at most 4096 bytes.'),
  secrets: z
    .record(z.string(), z.string())
    .optional()
    .describe(
      'Environment name to name of a secret; values are looked up when an Instance starts, and take with env and command at most 63488 bytes as JSON.',
    ),
  network: z.string().optional().describe('`none` (default) or `egress`.'),
  isolation: z.string().optional().describe('`auto` (default), `process` or `vm`; `vm` is never downgraded.'),
  reuse: z
    .string()
    .optional()
    .describe('`sequential` (default), or `never`: each invocation gets an Instance of its own.'),
  snapshot: z
    .string()
    .optional()
    .describe(
      'MicroVMs only: `runtime` (default): starts from a snapshot without user code; `function`: module-level code is in it; `none`.',
    ),
  arch: z.string().optional().describe('`x86_64` or `arm64`; default: that of the platform.'),
  freezeAfterMs: z
    .number()
    .optional()
    .describe('Idle time after which an Instance gets no CPU: 0 to 3600000, default 100.'),
  keepAliveMs: z
    .number()
    .optional()
    .describe('Idle time after which an Instance is removed: 0 to 86400000, default 600000.'),
  layers: z
    .array(z.string())
    .optional()
    .describe('At most 5 of `NAME:NUMBER`, unpacked below /opt in this order: later ones over earlier ones.'),
  permissions: z
    .array(z.string())
    .optional()
    .describe("Scopes of the function's own identity towards this API; none by default."),
}

export const createFunctionBody = z
  .strictObject({
    name: functionName,
    code: codeSource,
    ...configFields,
    runtime: configFields.runtime.unwrap().describe(configFields.runtime.description ?? ''),
  })
  .meta({ id: 'CreateFunction' })
export const updateFunctionBody = z
  .strictObject({ code: codeSource.optional(), ...configFields })
  .meta({ id: 'UpdateFunction' })

export const deployQuery = z.strictObject({
  wait: z
    .enum(['true', 'false'])
    .optional()
    .describe(
      '`false`: answer 202 once the version is accepted and on disk. It is prepared afterwards; until then the version before serves, and calls of the new one wait.',
    ),
  mustLoad: z
    .enum(['true', 'false'])
    .optional()
    .describe(
      '`true`: start the code once before the version goes live; code that does not load is refused. `false`: do not. Left out: of a program (bootstrap, server, image, Go, Rust) that is new, or that an update replaces.',
    ),
})

export const uploadQuery = z.strictObject({
  kind: z
    .enum(['code', 'image'])
    .optional()
    .describe(
      '`code` (default): a zip of at most 250 MiB; `image`: the tar of a container image, at most 2 GiB: a docker-archive, or an OCI layout.',
    ),
})

const versionState = z.enum(['pending', 'active', 'failed'])

export const functionStats = z
  .object({
    invocations: z.number(),
    errors: z.number(),
    running: z.number(),
    queued: z.number(),
    durationMsP50: z.number().nullable(),
    durationMsP99: z.number().nullable(),
    coldStarts: z.record(z.string(), z.number()),
    outcomes: z.record(z.string(), z.number()),
  })
  .meta({ id: 'FunctionStats' })

const versionFields = {
  function: z.string(),
  version: z.number(),
  state: versionState.describe('`pending`: being prepared; `failed`: it never can be invoked.'),
  stateReason: z.string().nullable().describe('Why it failed.'),
  runtime: z.string(),
  runtimeId: z.string(),
  runtimeVersion: z.string(),
  runtimeDigest: z.string(),
  handler: z.string(),
  contract: z.string(),
  command: z.array(z.string()),
  port: z.number(),
  instanceConcurrency: z.number(),
  description: z.string(),
  memoryMib: z.number(),
  timeoutMs: z.number(),
  initTimeoutMs: z.number(),
  concurrency: z.number(),
  ephemeralMib: z.number(),
  env: z.record(z.string(), z.string()),
  secrets: z.record(z.string(), z.string()),
  network: z.string(),
  isolation: z.string(),
  reuse: z.string(),
  snapshot: z.string(),
  arch: z.string(),
  freezeAfterMs: z.number(),
  keepAliveMs: z.number(),
  layers: z.array(z.string()),
  permissions: z.array(z.string()),
  codeDigest: z.string(),
  codeSha256: z.string().describe('Base64 SHA-256 of the uploaded archive.'),
  codeBytes: z.number(),
  codeSource: codeOrigin,
  policyDigest: z.string(),
}

export const versionView = z.object({ ...versionFields, createdAt: z.number() }).meta({ id: 'Version' })
export const functionView = z
  .object({
    name: z.string(),
    project: z.string(),
    ...versionFields,
    versionCount: z.number(),
    update: z
      .object({ version: z.number(), state: versionState.exclude(['active']), reason: z.string().nullable() })
      .nullable()
      .describe('The newest version, while it is not what `$LATEST` means because it is pending or failed.'),
    createdAt: z.number(),
    updatedAt: z.number(),
    stats: functionStats,
  })
  .meta({ id: 'Function' })

export const alias = z
  .object({ name: z.string(), function: z.string(), version: z.number(), updatedAt: z.number() })
  .meta({ id: 'Alias' })

export const receipt = z
  .object({
    id: z.string(),
    function: z.string(),
    version: z.number(),
    state: z.string(),
    outcome: z.string().nullable(),
    effect: z.string(),
    createdAt: z.number(),
    deadline: z.number(),
    endedAt: z.number().nullable(),
    attempts: z.array(
      z.object({
        node: z.string(),
        instance: z.string(),
        driver: z.string(),
        vmm: z.string().nullable().describe('Of a microVM: VMM, version and accelerator.'),
        snapshot: z
          .string()
          .nullable()
          .describe(
            'Of a microVM: `runtime`, `function`, `none`; `refused: <reason>` or `runtime, function refused: <reason>` where a stronger rung did not hold.',
          ),
        arch: z.string(),
        startedAt: z.number(),
        endedAt: z.number(),
        outcome: z.string(),
      }),
    ),
    phases: z.array(
      z.object({
        phase: z.string(),
        startMs: z.number(),
        durationMs: z.number(),
        source: z.string(),
        bytes: z.number(),
      }),
    ),
    durationMs: z.number(),
    start: z.string().nullable(),
    coldCause: z.string().nullable(),
    crashReason: z.string().nullable(),
    memoryPeakMib: z.number().describe('At most while it ran; of a short one what its Instance held when last read.'),
    bytesFetched: z.number(),
    ephemeralBytesPeak: z.number().describe('In /tmp, read at the same times as the memory.'),
    storageOps: z.number(),
    requestBytes: z.number(),
    responseBytes: z.number(),
    error: z.unknown(),
  })
  .meta({ id: 'Invocation' })

export const logLine = z
  .object({
    time: z.number(),
    stream: z.enum(['stdout', 'stderr', 'platform']),
    invocation: z.string().nullable(),
    instance: z.string(),
    text: z.string(),
    offset: z.number(),
  })
  .meta({ id: 'LogLine' })

export const runtimeBuild = z
  .object({
    id: z.string(),
    family: z.string(),
    version: z.string(),
    executable: z.string(),
    prefix: z.string(),
    digest: z.string(),
    isBridged: z.boolean().describe("Runs programs of the user's own, not handlers."),
    image: z.string().describe('Digest of the build whose root image it uses.'),
  })
  .meta({ id: 'Runtime' })

export const otherRuntime = z
  .object({
    id: z.string(),
    about: z.string().describe('What it is for.'),
    needs: z.string().describe('What must be on the machine.'),
    isHere: z.boolean().describe('Whether that is there.'),
    versions: z.array(z.string()).describe('Lines of the language that can be built there, newest first.'),
  })
  .meta({ id: 'OtherRuntime' })

export const nodeStatus = z
  .object({
    node: z.string(),
    arch: z.string(),
    draining: z.boolean(),
    memoryMib: z.number(),
    freeMib: z.number(),
    drivers: z.array(
      z.object({
        name: z.string(),
        works: z.boolean(),
        detail: z.string(),
        isVm: z.boolean(),
        vmm: z.object({ name: z.string(), version: z.string(), accelerator: z.string() }).nullable(),
        enforced: z.array(z.object({ feature: z.string(), enforced: z.boolean(), detail: z.string() })),
      }),
    ),
    runtimes: z.array(runtimeBuild),
    instances: z.object({ booted: z.number(), ready: z.number(), busy: z.number(), frozen: z.number() }),
  })
  .meta({ id: 'Node' })

export const secretInfo = z
  .object({ name: z.string(), revision: z.number(), createdAt: z.number(), updatedAt: z.number() })
  .meta({ id: 'Secret' })
export const auditEntry = z
  .object({
    seq: z.number(),
    time: z.number(),
    project: z.string(),
    actor: z.string(),
    action: z.string(),
    target: z.string(),
    detail: z.record(z.string(), z.unknown()),
  })
  .meta({ id: 'AuditEntry' })
export const artifact = z.object({ digest: z.string(), bytes: z.number() }).meta({ id: 'Artifact' })

export const errorBody = z
  .object({
    error: z.object({
      code: z.string(),
      message: z.string(),
      field: z.string().optional(),
      value: z.unknown().optional(),
      allowed: z.string().optional(),
      retryable: z.boolean(),
      invocationId: z.string().optional(),
    }),
  })
  .meta({ id: 'Error' })

export const pageQuery = z.strictObject({
  limit: z.coerce.number().int().min(1).max(1000).default(50).optional(),
  cursor: z.string().optional(),
})

export const listOf = <T extends z.ZodType>(item: T) => z.object({ items: z.array(item) })
export const pageOf = <T extends z.ZodType>(item: T) =>
  z.object({ items: z.array(item), nextCursor: z.string().nullable() })
