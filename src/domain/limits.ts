/** Every limit a user can meet, with its unit in its name. Source: docs/reference/contracts.md. */
export const limits = {
  memoryMib: { min: 128, max: 2048, default: 256 },
  timeoutMs: { min: 1_000, max: 300_000, default: 30_000 },
  concurrency: { min: 1, max: 100, default: 10 },
  ephemeralMib: { min: 64, max: 10_240, default: 512 },
  initTimeoutMs: { min: 100, max: 300_000, default: 10_000 },
  freezeAfterMs: { min: 0, max: 3_600_000, default: 100 },
  keepAliveMs: { min: 0, max: 86_400_000, default: 600_000 },
  port: { min: 1, max: 65_535, default: 8_080 },
  instanceConcurrency: { min: 1, max: 80, default: 1 },
  /** Program and arguments of a Function's own command. */
  command: { wordsMax: 64, bytesMax: 4_096 },
  /** All names and values of one function's environment together. */
  envBytesMax: 4_096,
  /** Environment, opened secrets and command as JSON: what an Instance is told at its start is one frame of 64 KiB (wire/frame.ts), and names, paths and
   *  limits take less than 2 KiB of it. */
  boundBytesMax: 62 * 1_024,
  /** One request or response body of an invocation. */
  payloadBytesMax: 6 * 1024 * 1024,
  /** One reply that is passed on as it comes, and one request body that a Version with contract `http` gets as it comes; settings streamReplyMib, streamRequestMib. */
  streamMib: { min: 1, max: 1_048_576, default: 200 },
  archive: {
    bytesMax: 250 * 1024 * 1024,
    unpackedBytesMax: 1024 * 1024 * 1024,
    entriesMax: 100_000,
    ratioMax: 200,
    pathBytesMax: 1_024,
    depthMax: 64,
  },
  /** An OCI image as it comes (compressed), unpacked, and its layers. */
  image: { bytesMax: 2 * 2 ** 30, unpackedBytesMax: 4 * 2 ** 30, entriesMax: 200_000, layersMax: 127 },
  storage: {
    objectBytesMax: 5 * 1024 * 1024 * 1024,
    keyBytesMax: 1_024,
    bucketsMax: 1_000,
    /** Of one object; the oldest goes when one more is put. */
    versionsMax: 10,
  },
  /** `Hearth-Log-Result` carries the last this many bytes. */
  logTailBytes: 4_096,
  layersMax: 5,
  /** Quotas of a project; 0 functions = no new ones. */
  project: {
    functionsMax: { min: 0, max: 100_000, default: 10_000 },
    concurrencyMax: { min: 1, max: 100_000, default: 1_000 },
  },
} as const

export const namePattern = /^[A-Za-z0-9_-]{1,64}$/

/** How much may come of what is to be deployed. */
export function sourceBytesMax(kind: 'code' | 'image'): number {
  return kind === 'image' ? limits.image.bytesMax : limits.archive.bytesMax
}
