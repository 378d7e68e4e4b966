import { createHash } from 'node:crypto'
import { invalid } from '../domain/error.ts'
import { workFolder, type CacheRule, type Plan, type PlanOptions, type Source, type Step } from './plan.ts'
import { isOfLine, missingText } from './pick-toolchain.ts'
import { targets, thisArch, type Target } from './targets.ts'

const targetFolder = '/tmp/target'

/** How a Rust source becomes a program: its own `main` as it is; a handler by a main of ours. Throws invalid for a handler that is not there. */
export function rustPlan(options: PlanOptions): Plan {
  const { source, handler, runtime, version, target } = options
  const wanted = /^rust(1\.\d+)$/.exec(runtime)?.[1]
  if (wanted !== undefined && !isOfLine(version, wanted))
    throw invalid('runtime', runtime, `rust${version.split('.').slice(0, 2).join('.')}, or rust`, missingText(wanted))
  const manifest = source.get('Cargo.toml')
  if (manifest === undefined) throw invalid('code', 'the source', 'a folder with Cargo.toml at its top')
  const [, path = '', name = ''] = /^main::((?:\w+::)*)(\w+)$/.exec(handler === '' ? 'main::handler' : handler) ?? []
  if (name === '') throw invalid('handler', handler, 'main::FUNCTION or main::MODULE::FUNCTION, e.g. main::handler')
  const [main, library] = [source.get('src/main.rs'), source.get('src/lib.rs')]
  const cache = cacheRule(source, target.triple)
  const common = { env: rustEnv(target), output: `${targetFolder}/${target.triple}/release`, cache, shared: [] }
  const rustc: Step = { title: 'rustc', argv: ['rustc', '--version'], isVersion: true }
  const locked: Step = { title: 'cargo fetch', argv: ['cargo', 'fetch', '--locked'] }
  const fetch = source.has('Cargo.lock') ? [rustc, locked] : [rustc]
  const build = { title: 'cargo build', argv: ['cargo', 'build', '--release', '--bins', '--target', target.triple] }
  if (main !== undefined && /^\s*(pub\s+)?(async\s+)?fn\s+main\s*\(/m.test(main))
    return { ...common, files: new Map(), steps: [...fetch, build], lasting: [], isNative: false }
  const root = main ?? library
  if (root === undefined) throw invalid('code', 'the source', 'a crate with src/main.rs or src/lib.rs')
  if (path === '' && !new RegExp(`\\bfn\\s+${name}\\b`).test(root))
    throw invalid(
      'handler',
      handler,
      `a function of src/${main === undefined ? 'lib' : 'main'}.rs; it has no "fn ${name}"`,
    )
  const isAsync = /^tokio\s*=|^\[dependencies\.tokio\]/m.test(manifest)
  const files = new Map<string, string>()
  const shimFolder = shimFolderOf(options.shim)
  for (const [file, text] of options.shim) files.set(`${shimFolder}/${file}`, text)
  if (main === undefined)
    files.set('src/bin/hearth-bootstrap.rs', mainText(`${crateName(manifest)}::${path}${name}`, isAsync))
  else files.set('src/main.rs', `${main}\n${mainText(`${path}${name}`, isAsync)}`)
  const add = { title: 'cargo add', argv: ['cargo', 'add', '--quiet', '--path', shimFolder] }
  return { ...common, files, steps: [...fetch, add, build], lasting: [shimFolder], isNative: true }
}

function crateName(manifest: string): string {
  const section = (title: string): string => new RegExp(`^\\[${title}\\]([^[]*)`, 'm').exec(manifest)?.[1] ?? ''
  const nameIn = (text: string): string | undefined => /^name\s*=\s*"([\w-]+)"/m.exec(text)?.[1]
  return (nameIn(section('lib')) ?? nameIn(section('package')) ?? 'handler').replaceAll('-', '_')
}

function mainText(handler: string, hasTokio: boolean): string {
  if (!hasTokio) return `fn main() {\n    hearth_runtime::run(${handler})\n}\n`
  return `struct HearthTokio(tokio::runtime::Runtime);

impl hearth_runtime::Executor for HearthTokio {
    fn block_on<F: std::future::Future>(&self, future: F) -> F::Output {
        self.0.block_on(future)
    }
}

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("tokio starts");
    hearth_runtime::run_on(HearthTokio(runtime), ${handler})
}
`
}

/** Another shim is another folder, and so another crate to cargo: what was compiled of one is never taken for the other's. */
function shimFolderOf(shim: Source): string {
  const digest = createHash('sha256').update(JSON.stringify([...shim]))
  return `.hearth-runtime-${digest.digest('hex').slice(0, 16)}`
}

/** Archives of crates, and what was compiled of them. Not of the source's own: that is told apart by time, and clocks can be set back. */
function cacheRule(source: Source, triple: string): CacheRule {
  const manifests = [...source].filter(([name]) => /(^|\/)Cargo\.toml$/.test(name)).map(([, text]) => text)
  const names = ['hearth-bootstrap', ...manifests.flatMap(ownNames)]
  const either = [...new Set(names.flatMap((name) => [name, name.replaceAll('-', '_')]))].join('|')
  return {
    folders: ['cargo/registry', 'target'],
    keep: `^(cargo/registry/(index|cache)/|target/(${triple}/)?release/(deps|build|\\.fingerprint)/|target/\\.rustc_info\\.json$)`,
    omit: `/(lib)?(${either})-[0-9a-f]{16}($|[/.])`,
  }
}

/** Of packages, libraries and programs: names of crates hold nothing that means something in a pattern. */
function ownNames(manifest: string): string[] {
  return [...manifest.matchAll(/^name\s*=\s*"([\w-]+)"/gm)].map(([, name = '']) => name)
}

function rustEnv({ triple, linker }: Target): Record<string, string> {
  const isForeign = triple !== targets[thisArch].triple
  return {
    ...(isForeign && { [`CARGO_TARGET_${triple.toUpperCase().replaceAll('-', '_')}_LINKER`]: linker }),
    CARGO_HOME: '/tmp/cargo',
    CARGO_TARGET_DIR: targetFolder,
    CARGO_INCREMENTAL: '0',
    CARGO_TERM_COLOR: 'never',
    CARGO_TERM_PROGRESS_WHEN: 'never',
    CARGO_HTTP_CAINFO: '/etc/ssl/certs/ca-certificates.crt',
    CARGO_NET_RETRY: '2',
    CARGO_PROFILE_RELEASE_STRIP: 'symbols',
    // Static where the target's libc can be: it runs in every sandbox, and its start asks no loader.
    RUSTFLAGS: `-C target-feature=+crt-static --remap-path-prefix=${workFolder}=. --remap-path-prefix=/tmp/cargo=cargo -C link-arg=-Wl,--build-id=none`,
    HEARTH_TARGET: triple,
  }
}
