import { AppError } from '../domain/error.ts'
import type { SignatureProof } from '../domain/control.ts'
import { isMissing } from '../domain/is-missing.ts'
import type { AccessKey } from '../domain/project.ts'
import {
  createCipheriv,
  createDecipheriv,
  createHmac,
  hkdfSync,
  randomBytes,
  randomInt,
  timingSafeEqual,
} from 'node:crypto'
import {
  closeSync,
  fstatSync,
  fsyncSync,
  linkSync,
  mkdirSync,
  openSync,
  readFileSync,
  rmSync,
  writeSync,
} from 'node:fs'
import { dirname } from 'node:path'

const masterBytes = 32
const sealVersion = 1
const nonceBytes = 12
const tagBytes = 16
const keyIdLength = 12
const keyIdAlphabet = 'abcdefghijklmnopqrstuvwxyz0123456789'
/** With the 12 characters of a key id as long as AWS's own, and in upper case as they are. */
const accessKeyPrefix = 'HEARTHAK'
const accessKeyPattern = /^HEARTHAK([A-Z0-9]{12})$/
/** 40 characters of base64url, as long as AWS's own. */
const accessSecretBytes = 30
/** 32 bytes in base64url are 43 characters. */
const tokenPattern = /^hth_([a-z0-9]{12})_([A-Za-z0-9_-]{43})$/

/** Opens the vault whose master key lies in `file`; makes the file (0600, 32 random bytes) when it does not exist.
 *  Blocks for a file read: call it at start. Throws invalid (wrong size, or readable by others; the message names the fix). */
export function openVault({ file }: { file: string }): Vault {
  try {
    return new Vault(readMaster(file) ?? createMaster(file))
  } catch (error) {
    if (error instanceof AppError || !(error instanceof Error)) throw error
    throw new AppError('internal', `Cannot use master key "${file}": ${error.message}.`, { cause: error })
  }
}

/** All that hangs on the master key: secrets sealed at rest; bearer tokens and access keys derived instead of stored. */
export class Vault {
  readonly #master: Buffer
  readonly #sealKey: Buffer
  readonly #accessKey: Buffer

  constructor(master: Buffer) {
    this.#master = master
    // Encryption gets a key of its own, so that tokens and ciphertexts share no key material.
    this.#sealKey = Buffer.from(hkdfSync('sha256', master, '', 'hearth seal v1', 32))
    // As do secrets that sign: who holds one knows nothing of the same key's token.
    this.#accessKey = Buffer.from(hkdfSync('sha256', master, '', 'hearth access key v1', 32))
  }

  /** `version(1) nonce(12) ciphertext tag(16)`, AES-256-GCM, bound to project and name: it opens under no other. */
  seal(project: string, name: string, plaintext: string): Uint8Array {
    const nonce = randomBytes(nonceBytes)
    const cipher = createCipheriv('aes-256-gcm', this.#sealKey, nonce)
    cipher.setAAD(bindingOf(project, name))
    const ciphertext = Buffer.concat([cipher.update(plaintext, 'utf8'), cipher.final()])
    return Buffer.concat([Uint8Array.of(sealVersion), nonce, ciphertext, cipher.getAuthTag()])
  }

  /** Throws internal (sealed by another master key, for another name, damaged, or by a newer Hearth). */
  open(project: string, name: string, sealed: Uint8Array): string {
    const bytes = Buffer.from(sealed)
    if (bytes.length < 1 + nonceBytes + tagBytes) throw cannotOpen(name, 'it is cut short')
    if (bytes[0] !== sealVersion) throw cannotOpen(name, `its format ${bytes[0]} is not known to this release`)
    const decipher = createDecipheriv('aes-256-gcm', this.#sealKey, bytes.subarray(1, 1 + nonceBytes))
    decipher.setAAD(bindingOf(project, name))
    decipher.setAuthTag(bytes.subarray(-tagBytes))
    try {
      return decipher.update(bytes.subarray(1 + nonceBytes, -tagBytes), undefined, 'utf8') + decipher.final('utf8')
    } catch (cause) {
      throw cannotOpen(name, 'it is damaged, or was sealed with another master key', cause)
    }
  }

  /** The bearer token of a key: the same each time, so that nothing secret is stored. */
  tokenFor(keyId: string): string {
    return `hth_${keyId}_${this.#secretOf(keyId)}`
  }

  /** The key id that `token` proves, or null. Constant time in the secret. Whether the key exists and is not revoked is the store's to say. */
  verifyToken(token: string): string | null {
    const match = tokenPattern.exec(token)
    const [, keyId, secret] = match ?? []
    if (keyId === undefined || secret === undefined) return null
    return timingSafeEqual(Buffer.from(secret), Buffer.from(this.#secretOf(keyId))) ? keyId : null
  }

  /** What the holder of a key signs requests with: the same each time. */
  accessKeyFor(keyId: string): AccessKey {
    const secret = createHmac('sha256', this.#accessKey).update(keyId).digest().subarray(0, accessSecretBytes)
    return {
      accessKeyId: `${accessKeyPrefix}${keyId.toUpperCase()}`,
      secretAccessKey: secret.toString('base64url'),
    }
  }

  /** The key id whose access key made the signature, or null. Takes as long whether or not there is such a key: that is the store's to say. */
  verifySignature({ accessKeyId, date, region, service, stringToSign, signature }: SignatureProof): string | null {
    const keyId = keyIdOf(accessKeyId)
    if (keyId === null) return null
    let key: Buffer = Buffer.from(`AWS4${this.accessKeyFor(keyId).secretAccessKey}`)
    for (const part of [date, region, service, 'aws4_request', stringToSign])
      key = createHmac('sha256', key).update(part).digest()
    const given = Buffer.from(signature, 'hex')
    return given.length === key.length && timingSafeEqual(given, key) ? keyId : null
  }

  #secretOf(keyId: string): string {
    return createHmac('sha256', this.#master).update(`key:${keyId}`).digest('base64url')
  }
}

/** The key that an access key id is of; null = of none that this platform makes. */
export function keyIdOf(accessKeyId: string): string | null {
  return accessKeyPattern.exec(accessKeyId)?.[1]?.toLowerCase() ?? null
}

/** 12 characters of [a-z0-9], 62 random bits. */
export function newKeyId(): string {
  return Array.from({ length: keyIdLength }, () => keyIdAlphabet[randomInt(keyIdAlphabet.length)]).join('')
}

/** Lengths in front, so that no two pairs read the same. */
function bindingOf(project: string, name: string): Buffer {
  return Buffer.from(`${Buffer.byteLength(project)}:${project}/${name}`)
}

function cannotOpen(name: string, problem: string, cause?: unknown): AppError {
  return new AppError('internal', `Cannot read secret "${name}": ${problem}. Set it again.`, {
    retryable: false,
    cause,
  })
}

function readMaster(file: string): Buffer | undefined {
  const fd = openIfThere(file)
  if (fd === undefined) return undefined
  try {
    const mode = fstatSync(fd).mode & 0o777
    if ((mode & 0o077) !== 0) {
      throw new AppError(
        'invalid',
        `Master key "${file}" can be read by others (mode ${mode.toString(8).padStart(4, '0')}). ` +
          `Run: chmod 600 '${file}', and consider it leaked.`,
      )
    }
    const master = readFileSync(fd)
    if (master.length === masterBytes) return master
    throw new AppError(
      'invalid',
      `Master key "${file}" holds ${master.length} bytes instead of ${masterBytes}. Restore it from a backup: ` +
        'with another key no secret can be read and no API key is valid.',
    )
  } finally {
    closeSync(fd)
  }
}

function openIfThere(file: string): number | undefined {
  try {
    return openSync(file, 'r')
  } catch (error) {
    if (isMissing(error)) return undefined
    throw error
  }
}

/** Written aside and linked into place: the file appears whole, and never over one that another process just made. */
function createMaster(file: string): Buffer {
  mkdirSync(dirname(file), { recursive: true })
  const draft = `${file}.${process.pid}.new`
  rmSync(draft, { force: true })
  const master = randomBytes(masterBytes)
  const fd = openSync(draft, 'wx', 0o600)
  try {
    writeSync(fd, master)
    fsyncSync(fd)
  } finally {
    closeSync(fd)
  }
  try {
    linkSync(draft, file)
  } finally {
    rmSync(draft, { force: true })
  }
  fsyncFolder(dirname(file))
  return master
}

function fsyncFolder(folder: string): void {
  const fd = openSync(folder, 'r')
  try {
    fsyncSync(fd)
  } finally {
    closeSync(fd)
  }
}
