import path from 'node:path'
import { cacheFolder } from '../../src/main/images.ts'

/** Where tests keep what takes long to make and is named after all that goes into it, beside kernels and images: a fresh clone finds it again, and makes it where it is absent. */
export function testCache(name: string): string {
  return path.join(cacheFolder('', process.env), 'tests', name)
}
