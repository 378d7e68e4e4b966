/* Bodies of Firecracker's HTTP API that are used here, from its published description (src/firecracker/swagger/firecracker.yaml, 1.x): the
 * driver sends nothing else, and the simulator in test/fc-sim refuses anything else. Paths are as the VMM sees them, in its jail. */

export interface Logger {
  readonly log_path: string
  readonly level: 'Error' | 'Warning' | 'Info' | 'Debug'
  readonly show_level: boolean
  readonly show_log_origin: boolean
}

export interface Metrics {
  readonly metrics_path: string
}

export interface MachineConfig {
  readonly vcpu_count: number
  readonly mem_size_mib: number
  readonly smt: boolean
}

export interface BootSource {
  readonly kernel_image_path: string
  readonly initrd_path?: string
  readonly boot_args: string
}

export interface TokenBucket {
  readonly size: number
  /** ms. */
  readonly refill_time: number
}

export interface RateLimiter {
  readonly bandwidth?: TokenBucket
  readonly ops?: TokenBucket
}

export interface Drive {
  readonly drive_id: string
  readonly path_on_host: string
  readonly is_root_device: boolean
  readonly is_read_only: boolean
  readonly rate_limiter?: RateLimiter
}

export interface PartialDrive {
  readonly drive_id: string
  readonly path_on_host?: string
  readonly rate_limiter?: RateLimiter
}

export interface NetworkInterface {
  readonly iface_id: string
  readonly host_dev_name: string
  readonly guest_mac: string
  readonly rx_rate_limiter?: RateLimiter
  readonly tx_rate_limiter?: RateLimiter
}

export interface Vsock {
  readonly guest_cid: number
  readonly uds_path: string
}

export interface Balloon {
  readonly amount_mib: number
  readonly deflate_on_oom: boolean
  readonly stats_polling_interval_s: number
}

export interface SnapshotCreate {
  readonly snapshot_type: 'Full'
  readonly snapshot_path: string
  readonly mem_file_path: string
}

export interface SnapshotLoad {
  readonly snapshot_path: string
  readonly mem_backend: { readonly backend_type: 'File' | 'Uffd'; readonly backend_path: string }
  readonly network_overrides: readonly { readonly iface_id: string; readonly host_dev_name: string }[]
  readonly resume_vm: boolean
}

/** Body of each request by method and path. */
export interface FirecrackerRequests {
  'PUT /logger': Logger
  'PUT /metrics': Metrics
  'PUT /machine-config': MachineConfig
  'PUT /boot-source': BootSource
  'PUT /drives/root': Drive
  'PUT /drives/code': Drive
  'PATCH /drives/root': PartialDrive
  'PATCH /drives/code': PartialDrive
  'PUT /network-interfaces/eth0': NetworkInterface
  'PUT /vsock': Vsock
  'PUT /entropy': { readonly rate_limiter?: RateLimiter }
  'PUT /balloon': Balloon
  'PUT /actions': { readonly action_type: 'InstanceStart' | 'FlushMetrics' }
  'PATCH /vm': { readonly state: 'Paused' | 'Resumed' }
  'PUT /snapshot/create': SnapshotCreate
  'PUT /snapshot/load': SnapshotLoad
}

export type FirecrackerRoute = keyof FirecrackerRequests
