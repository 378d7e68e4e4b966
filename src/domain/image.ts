import type { Digest } from './artifact.ts'
import type { BindSpec } from './driver.ts'
import type { RuntimeBuild } from './runtime.ts'

/** `own`: built from Debian's source with our configuration. `debian`: Debian's cloud kernel with a small initramfs. `file`: an operator's. */
export const kernelKinds = ['own', 'debian', 'file'] as const
export type KernelKind = (typeof kernelKinds)[number]

/** `ci` leaves out what only costs time where the guest's code is emulated. */
export const kernelProfiles = ['ci', 'prod'] as const
export type KernelProfile = (typeof kernelProfiles)[number]

/** What a VM boots. Its files never change under their names. */
export interface KernelBuild {
  /** Over both files: part of every snapshot's key. */
  readonly digest: Digest
  /** ELF with a PVH note: QEMU and Firecracker load it as it is. */
  readonly vmlinux: string
  /** cpio with the guest program as `/init` and `/modules/NN-*.ko`; null where the kernel has its drivers built in. */
  readonly initramfs: string | null
  readonly kind: KernelKind
  /** Only an own kernel has one. */
  readonly profile: KernelProfile | null
  /** It finds virtio-mmio devices through ACPI only, not by the command line. */
  readonly needsAcpi: boolean
  /** As `uname -r` says it, e.g. `6.1.192`. */
  readonly release: string
}

/** A read-only, uncompressed erofs: the tree of its manifest, made without root, the same bytes from the same input. */
export interface Image {
  /** Of the tree manifest: every path, mode, size, content and link. */
  readonly digest: Digest
  readonly path: string
  readonly bytes: number
}

/** The root file system of a runtime's VMs. */
export interface RuntimeImage extends Image {
  /** The build as it is seen in the VM: `executable` and `prefix` are paths in the image. */
  readonly runtime: RuntimeBuild
  /** Digest of the guest program in it. */
  readonly guest: Digest
  /** What it is without: a line for each package that could not be had, or file that could not be taken. */
  readonly skipped: readonly string[]
}

/** The trees of a Version, as `BindSpec` names them. What lies in them never changes under the same path. */
export interface CodeTrees extends Pick<BindSpec, 'codeFolder' | 'cacheFolder' | 'layerFolders'> {
  /** The code is a whole file system, of a container's image. */
  readonly isRoot?: boolean
}

/** Every code image is this large for the VM, sparse on disk: any can stand in for the placeholder that a snapshot was made with. */
export const codeImageBytes = 1280 * 1024 * 1024

/** Called with one line of what is being done and, where it is known, how much of it is: 0 to 1. */
export type ReportProgress = (what: string, share?: number) => void

/** Kernels and images by digest; each is made once, however many ask. Building needs no root and never holds up the caller's event loop. */
export interface ImageStore {
  /** The configured file, else the one that `hearth kernel` built or was given last, else Debian's, fetched when first needed.
   *  Throws invalid (the configured file is no kernel that can be used), driver_failed (none can be had: the message says what to run). */
  kernel(report?: ReportProgress): Promise<KernelBuild>
  /** The root of `build`'s VMs, built when first asked for: 1 to 5 s. `isWhole`: one that lacks something is built anew, maybe with it.
   *  Throws driver_failed (the interpreter cannot be read or its libraries found: named), capacity (disk full, nothing kept). */
  runtimeImage(build: RuntimeBuild, report?: ReportProgress, wants?: { isWhole: boolean }): Promise<RuntimeImage>
  /** `task/`, `cache/` and `opt/` (later layers over earlier ones) of a Version; size is `codeImageBytes`. Known ones cost one look-up.
   *  Kept for `owner`, who has one at a time, until `forgetCode`; owners of the same content share the file.
   *  Throws invalid (larger than `codeImageBytes`), driver_failed (a device, socket or link that leads out of the tree: named), capacity. */
  codeImage(code: CodeTrees, owner: string): Promise<Image>
  /** Everybody who has a code image, also from before a restart. */
  codeOwners(): Promise<readonly string[]>
  /** Removes the code image of `owner`, unless somebody else has the same. Running VMs keep it open. */
  forgetCode(owner: string): Promise<void>
  /** A code image with the three folders empty: what a snapshot without code is made with. */
  placeholder(): Promise<Image>
  /** Everything; `keep` as for `prune`, which leaves what is current. */
  list(options: { keep: readonly RuntimeBuild[] }): Promise<readonly StoredImage[]>
  /** Removes what nothing asks for any more: code images without an owner; where the store's folder is the caller's alone to clean, also images of
   *  builds that are not in `keep` and kernels but the one in use (null: those stay). What a platform or a VM has open stays. */
  prune(options: { keep: readonly RuntimeBuild[] | null }): Promise<readonly StoredImage[]>
  close(): Promise<void>
}

/** One file of the store, for people. */
export interface StoredImage {
  readonly kind: 'kernel' | 'runtime' | 'code'
  /** `node26 26.10.0`, `6.1.192 (own, ci)`; empty for code. */
  readonly name: string
  readonly digest: Digest
  readonly path: string
  /** What it takes on disk. */
  readonly bytes: number
  /** Epoch ms. */
  readonly builtAt: number
  /** It is what the next VM of its kind boots with, or a process has it open. */
  readonly isCurrent: boolean
}
