import { z } from 'zod'

/* Bodies of Firecracker 1.13's API, written from its published description (src/firecracker/swagger/firecracker.yaml): all fields that it
 * has, and none that it lacks. What the simulator cannot do although Firecracker can is refused by `Machine`, not here. */

const tokenBucket = z.strictObject({
  size: z.int().min(0),
  refill_time: z.int().min(0),
  one_time_burst: z.int().min(0).optional(),
})
const rateLimiter = z.strictObject({ bandwidth: tokenBucket.optional(), ops: tokenBucket.optional() })
const u32 = z.int().min(0).max(0xffff_ffff)

const logger = z.strictObject({
  log_path: z.string().optional(),
  level: z
    .string()
    .regex(/^(error|warn|warning|info|debug|trace|off)$/i)
    .optional(),
  show_level: z.boolean().optional(),
  show_log_origin: z.boolean().optional(),
  module: z.string().optional(),
})

const machineConfig = z.strictObject({
  vcpu_count: z.int().min(0).max(255),
  mem_size_mib: z.int().min(0),
  smt: z.boolean().optional(),
  cpu_template: z.enum(['C3', 'T2', 'T2S', 'T2CL', 'T2A', 'V1N1', 'None']).optional(),
  track_dirty_pages: z.boolean().optional(),
  huge_pages: z.enum(['None', '2M']).optional(),
})

const bootSource = z.strictObject({
  kernel_image_path: z.string(),
  initrd_path: z.string().optional(),
  boot_args: z.string().optional(),
})

const drive = z.strictObject({
  drive_id: z.string(),
  partuuid: z.string().optional(),
  is_root_device: z.boolean(),
  cache_type: z.enum(['Unsafe', 'Writeback']).optional(),
  is_read_only: z.boolean().optional(),
  path_on_host: z.string().optional(),
  rate_limiter: rateLimiter.optional(),
  io_engine: z.enum(['Sync', 'Async']).optional(),
  socket: z.string().optional(),
})

const driveUpdate = z.strictObject({
  drive_id: z.string(),
  path_on_host: z.string().optional(),
  rate_limiter: rateLimiter.optional(),
})

const networkInterface = z.strictObject({
  iface_id: z.string(),
  host_dev_name: z.string(),
  guest_mac: z
    .string()
    .regex(/^([0-9a-f]{2}:){5}[0-9a-f]{2}$/i)
    .optional(),
  rx_rate_limiter: rateLimiter.optional(),
  tx_rate_limiter: rateLimiter.optional(),
})

const vsock = z.strictObject({ guest_cid: u32, uds_path: z.string(), vsock_id: z.string().optional() })

const balloon = z.strictObject({
  amount_mib: u32,
  deflate_on_oom: z.boolean(),
  stats_polling_interval_s: z.int().min(0).max(0xffff).optional(),
})

const snapshotCreate = z.strictObject({
  snapshot_type: z.enum(['Full', 'Diff']).optional(),
  snapshot_path: z.string(),
  mem_file_path: z.string(),
})

const snapshotLoad = z
  .strictObject({
    snapshot_path: z.string(),
    mem_file_path: z.string().optional(),
    mem_backend: z.strictObject({ backend_type: z.enum(['File', 'Uffd']), backend_path: z.string() }).optional(),
    enable_diff_snapshots: z.boolean().optional(),
    track_dirty_pages: z.boolean().optional(),
    resume_vm: z.boolean().optional(),
    network_overrides: z.array(z.strictObject({ iface_id: z.string(), host_dev_name: z.string() })).optional(),
  })
  .refine((body) => (body.mem_backend === undefined) !== (body.mem_file_path === undefined), {
    message: 'either `mem_backend` or `mem_file_path` exclusively is required',
  })

/** Routes with a body by method and path; `:id` must be the same in the body, under the name that stands beside it. */
export const bodies = {
  'PUT /logger': logger,
  'PUT /metrics': z.strictObject({ metrics_path: z.string() }),
  'PUT /machine-config': machineConfig,
  'PUT /boot-source': bootSource,
  'PUT /drives/:drive_id': drive,
  'PATCH /drives/:drive_id': driveUpdate,
  'PUT /network-interfaces/:iface_id': networkInterface,
  'PUT /vsock': vsock,
  'PUT /entropy': z.strictObject({ rate_limiter: rateLimiter.optional() }),
  'PUT /balloon': balloon,
  'PUT /actions': z.strictObject({ action_type: z.enum(['FlushMetrics', 'InstanceStart', 'SendCtrlAltDel']) }),
  'PATCH /vm': z.strictObject({ state: z.enum(['Paused', 'Resumed']) }),
  'PUT /snapshot/create': snapshotCreate,
  'PUT /snapshot/load': snapshotLoad,
} as const

export type Route = keyof typeof bodies
export type Body<R extends Route> = z.infer<(typeof bodies)[R]>

/** One request as it was understood. */
export type Request = { readonly [R in Route]: { readonly route: R; readonly body: Body<R> } }[Route]

/** A refusal: status 400 and this sentence as `fault_message`. */
export class Fault extends Error {}

/** Throws Fault when there is no such route, or the body is not of its shape. */
export function parseRequest(method: string, path: string, text: string): Request {
  const found = findRoute(method, path)
  if (found === null) throw new Fault(`Invalid request method and/or path: ${method} ${path}.`)
  if (text === '') throw new Fault(`Empty ${method} request.`)
  const { route, id } = found
  if (id !== null && !/^[A-Za-z0-9_]+$/.test(id.value))
    throw new Fault('API Resource IDs can only contain alphanumeric characters and underscores.')
  const parsed = bodies[route].safeParse(parseJson(text))
  if (!parsed.success) {
    const [issue] = parsed.error.issues
    const at = issue === undefined || issue.path.length === 0 ? '' : ` at ${issue.path.join('.')}`
    throw new Fault(`An error occurred when deserializing the json body of a request: ${issue?.message ?? ''}${at}.`)
  }
  const body: object = parsed.data
  if (id !== null && Reflect.get(body, id.name) !== id.value)
    throw new Fault('The id from the path does not match the id from the body!')
  // The schema of the very route was applied.
  return { route, body } as Request
}

function findRoute(method: string, path: string): { route: Route; id: { name: string; value: string } | null } | null {
  for (const route of Object.keys(bodies) as Route[]) {
    if (route === `${method} ${path}`) return { route, id: null }
    const [prefix = '', name] = route.split(':')
    if (name === undefined || !`${method} ${path}`.startsWith(prefix)) continue
    return { route, id: { name, value: `${method} ${path}`.slice(prefix.length) } }
  }
  return null
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch (error) {
    throw new Fault(`An error occurred when deserializing the json body of a request: ${String(error)}.`)
  }
}
