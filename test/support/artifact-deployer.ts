import { openArtifactStore } from '../../src/artifact/store.ts'
import { silentLogger } from '../../src/domain/logger.ts'
import { rawZip } from './raw-zip.ts'
import { randomBytes } from 'node:crypto'
import { Readable } from 'node:stream'

/* Puts and unpacks one new archive after the other in the folder named by the first argument, and prints each digest. It never stops:
 * the test that starts it kills it. */

const store = await openArtifactStore({ folder: process.argv[2] ?? '', logger: silentLogger })
for (;;) {
  const files = Array.from({ length: 30 }, (_, i) => ({ name: `lib/${i}.js`, content: randomBytes(20_000), method: 0 }))
  const { digest } = await store.put(Readable.from([rawZip(files)]))
  await store.unpack(digest)
  process.stdout.write(`${digest}\n`)
}
