import { AppError, invalid } from '../domain/error.ts'
import { cacheFolder, certificates, runnerFolder, systemPath } from './package-plan.ts'
import type { PackagePlan, PackagePlanOptions } from './package-plan.ts'
import { dirname, join } from 'node:path'

/** Both bind `npm ci`; npm itself prefers the first. */
const locks = ['npm-shrinkwrap.json', 'package-lock.json'] as const
const foreignLocks = ['yarn.lock', 'pnpm-lock.yaml', 'bun.lock', 'bun.lockb'] as const
/** npm's own needs: what it cannot run on gets its packages by the newest Node. */
const nodeMajorMin = 20

/** How a Node source gets its packages: `npm ci` where there is a lock, else `npm install`. Install scripts run as this npm runs them.
 *  Throws invalid: package.json absent, no JSON, without dependencies, or with the lock of another tool alone; or no npm on this machine. */
export function npmPlan({ texts, tools, interpreter, runner }: PackagePlanOptions): PackagePlan {
  const npm = tools.find(({ tool }) => tool === 'npm')
  if (npm === undefined)
    throw new AppError(
      'invalid',
      'Cannot build: npm is not on this machine. Install it (on Debian: apt-get install npm) and start Hearth again.',
    )
  const manifest = texts.get('package.json')
  if (manifest === undefined) throw invalid('code', 'the source', 'a folder with package.json at its top')
  requireDependencies(manifest)
  const lock = locks.find((name) => texts.has(name)) ?? null
  const foreign = foreignLocks.find((name) => texts.has(name))
  if (lock === null && foreign !== undefined)
    throw invalid(
      'code',
      foreign,
      'package-lock.json',
      'Hearth installs with npm, which reads no other lock. Run "npm install --package-lock-only", or install here and deploy with --no-build.',
    )
  const node = Number.parseInt(interpreter.version, 10) >= nodeMajorMin && interpreter.isSeen ? interpreter : runner
  const quiet = ['--omit=dev', '--no-audit', '--no-fund', '--no-update-notifier', '--loglevel=http']
  return {
    steps: [
      {
        title: lock === null ? 'npm install' : `npm ci with ${lock}`,
        argv: ['node', join(npm.folder, 'bin/npm-cli.js'), lock === null ? 'install' : 'ci', ...quiet],
      },
    ],
    env: {
      PATH: `${node.executable === runner.executable ? runnerFolder : dirname(node.executable)}:${systemPath}`,
      // Debian's npm finds its parts as Debian's node does.
      ...(npm.folder.startsWith('/usr/share/nodejs/') && { NODE_PATH: '/usr/share/nodejs' }),
      NODE_EXTRA_CA_CERTS: certificates,
      npm_config_cache: join(cacheFolder, 'npm'),
      npm_config_fetch_retries: '2',
      npm_config_fund: 'false',
    },
    toolchain: `npm ${npm.version}, node ${node.version}`,
    lock,
    manifest: 'package.json',
  }
}

function requireDependencies(text: string): void {
  const parts = ['dependencies', 'optionalDependencies'] as const
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (cause) {
    throw new AppError(
      'invalid',
      `Cannot build: package.json is not JSON (${cause instanceof Error ? cause.message : String(cause)}).`,
      { field: 'code', cause },
    )
  }
  const fields: Record<string, unknown> = typeof value === 'object' && value !== null ? { ...value } : {}
  const isNamed = parts.some((part) => typeof fields[part] === 'object' && Object.keys(fields[part] ?? {}).length > 0)
  if (!isNamed) throw invalid('code', 'package.json', 'a package.json with dependencies: there is nothing to install')
}
