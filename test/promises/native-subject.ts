import { execFile } from 'node:child_process'
import { copyFile, mkdir, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { promisify } from 'node:util'
import { Layout } from '../../src/artifact/layout.ts'
import type { Digest } from '../../src/domain/artifact.ts'
import type { Platform } from '../support/platform.ts'
import { invokeHeaders } from './subject.ts'

/** Programs that answer each event with itself: handlers that the platform builds, and one that speaks for itself, over the Runtime API or as a web server. */
export const kinds = ['go', 'rust', 'provided', 'http'] as const
export type Kind = (typeof kinds)[number]

const sources = {
  go: {
    'go.mod': 'module echo\n\ngo 1.21\n',
    'main.go':
      'package main\n\nfunc Handler(event map[string]string) (map[string]string, error) {\n\treturn event, nil\n}\n',
  },
  rust: {
    'Cargo.toml': '[package]\nname = "echo"\nversion = "0.1.0"\nedition = "2021"\n\n[dependencies]\nserde_json = "1"\n',
    'src/main.rs': 'use serde_json::Value;\n\nfn handler(event: Value) -> Result<Value, String> {\n    Ok(event)\n}\n',
  },
} as const satisfies Partial<Record<Kind, Record<string, string>>>

/** Folder or zip to deploy as `kind`, made in `folder`. Needs a C compiler, Go or Rust; Go and Rust are built at deploy. */
export async function nativeCode(folder: string, kind: Kind): Promise<string> {
  const target = path.join(folder, `code-${kind}`)
  if (kind === 'go' || kind === 'rust')
    for (const [name, text] of Object.entries(sources[kind])) {
      await mkdir(path.dirname(path.join(target, name)), { recursive: true })
      await writeFile(path.join(target, name), text)
    }
  else {
    await mkdir(target, { recursive: true })
    const source = path.join(import.meta.dirname, 'programs/bootstrap.c')
    await promisify(execFile)('cc', ['-Os', '-static', '-s', '-o', path.join(target, 'bootstrap'), source])
  }
  return target
}

/** Deploys `code` as a function that is called as its kind. */
export async function deployNative(
  platform: Platform,
  of: { kind: Kind; name: string; code: string; flags?: readonly string[] },
): Promise<void> {
  const args = ['function', 'create', '--name', of.name, '--runtime', of.kind, '--code', of.code, ...(of.flags ?? [])]
  const { code, stderr } = await platform.cli(args)
  if (code !== 0) throw new Error(`Cannot deploy ${of.name}: ${stderr}`)
}

/** The bundle that `platform` made of the function's source, as a zip in `folder` that another platform takes as it is. */
export async function bundleOf(platform: Platform, folder: string, name: string): Promise<string> {
  const reply = await fetch(`${platform.url}/v1/functions/${name}`, { headers: invokeHeaders(platform) })
  const { codeDigest } = (await reply.json()) as { codeDigest: Digest }
  const file = path.join(folder, `${name}.zip`)
  await copyFile(new Layout(platform.data).blob(codeDigest), file)
  return file
}
