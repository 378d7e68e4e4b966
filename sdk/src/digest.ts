import { z } from 'zod'

/** How artifacts are named. */
export const digest = z.string().regex(/^sha256:[0-9a-f]{64}$/, 'must be "sha256:" and 64 hex digits')
