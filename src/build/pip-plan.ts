import { AppError, invalid } from '../domain/error.ts'
import { cacheFolder, certificates, systemPath } from './package-plan.ts'
import type { PackagePlan, PackagePlanOptions } from './package-plan.ts'
import { dirname } from 'node:path'

const requirements = 'requirements.txt'

/** Runs pip from the folder of its first argument, whichever Python that belongs to: the function's own is the one that wheels are chosen for. */
const runPip =
  "import runpy, sys; sys.path.insert(0, sys.argv.pop(1)); sys.argv[0] = 'pip'; runpy.run_module('pip', run_name='__main__')"

/** How a Python source gets its packages: pip, on the Python that the function will run on, beside the code. What has no wheel is built from source.
 *  Throws invalid: no requirements.txt, or no pip on this machine. */
export function pipPlan({ texts, tools, interpreter }: PackagePlanOptions): PackagePlan {
  const required = texts.get(requirements)
  if (required === undefined) throw invalid('code', 'the source', `a folder with ${requirements} at its top`)
  const pips = tools.filter(({ tool }) => tool === 'pip')
  const pip =
    pips.find(({ folder }) => folder.startsWith(`${interpreter.prefix === '' ? '/usr' : interpreter.prefix}/`)) ??
    pips[0]
  if (pip === undefined)
    throw new AppError(
      'invalid',
      'Cannot build: pip is not on this machine. Install it (on Debian: apt-get install python3-pip; elsewhere: python3 -m ensurepip) and start Hearth again.',
    )
  const { executable, version } = interpreter
  if (!interpreter.isSeen)
    throw new AppError(
      'invalid',
      `Cannot build: ${executable} lies where a sandbox has folders of its own. Install that Python elsewhere, not below /tmp, /var or /opt.`,
    )
  const flags = [
    '--no-input',
    '--disable-pip-version-check',
    '--no-compile',
    '--no-warn-script-location',
    '--root-user-action=ignore',
    '--progress-bar=off',
  ]
  return {
    steps: [
      {
        title: `pip install with ${requirements}`,
        argv: [executable, '-I', '-c', runPip, pip.folder, 'install', ...flags, '--target', '.', '-r', requirements],
      },
    ],
    env: {
      PATH: `${dirname(executable)}:${systemPath}`,
      PIP_CERT: certificates,
      PIP_CONFIG_FILE: '/dev/null',
      PIP_CACHE_DIR: `${cacheFolder}/pip`,
      PIP_RETRIES: '2',
      // The same input gives the same bytes, also where pip zips or builds something.
      SOURCE_DATE_EPOCH: '315532800',
      PYTHONHASHSEED: '0',
    },
    toolchain: `pip ${pip.version}, python ${version}`,
    // With digests in it, it is binding, and pip refuses what differs.
    lock: /--hash[= ]sha256:/.test(required) ? requirements : null,
    manifest: requirements,
  }
}
