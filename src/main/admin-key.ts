import { open, readFile, rename, rm } from 'node:fs/promises'
import { newKeyId, type Vault } from '../control/vault.ts'
import { AppError } from '../domain/error.ts'
import { defaultProject } from '../domain/project.ts'
import type { Store } from '../domain/store.ts'

/** The installation's first key, in `file` (0600). Returns the token when it was made just now, so that it can be shown once; null when it was there.
 *  Throws internal when the file is lost or belongs to another installation. */
export async function ensureAdminKey(
  file: string,
  { store, vault }: { store: Store; vault: Vault },
): Promise<string | null> {
  const token = await readFile(file, 'utf8').then(
    (text) => text.trim(),
    () => null,
  )
  if (token !== null) {
    await checkKey(token, file, { store, vault })
    return null
  }
  const id = newKeyId()
  const audit = { actor: 'platform', action: 'key.create', target: id, detail: { name: 'admin' } }
  const made = vault.tokenFor(id)
  // The key first: a file without its key would be refused at the next start, a key without a file is only revoked later.
  await store.keys.create({ id, project: defaultProject, name: 'admin', scopes: ['admin'] }, audit)
  const draft = `${file}.draft`
  await rm(draft, { force: true })
  const handle = await open(draft, 'wx', 0o600)
  try {
    await handle.writeFile(`${made}\n`)
    await handle.sync()
  } finally {
    await handle.close()
  }
  await rename(draft, file)
  return made
}

async function checkKey(token: string, file: string, { store, vault }: { store: Store; vault: Vault }): Promise<void> {
  const id = vault.verifyToken(token)
  if (id === null || (await store.keys.get(id)) === null)
    throw new AppError(
      'internal',
      `Cannot use the admin key in ${file}: it belongs to another master key or database. Restore what was there, or remove the file to get a new key.`,
    )
}
