import assert from 'node:assert/strict'
import { test } from 'node:test'
import { goPlan } from './go-plan.ts'
import { isAsset, type Plan, type PlanOptions } from './plan.ts'
import { rustPlan } from './rust-plan.ts'
import { targets } from './targets.ts'

const target = targets.x86_64

const shim = new Map([
  ['go.mod', 'module hearth.dev/runtime\n'],
  ['runtime.go', 'package hearth\n'],
])

function plan(of: typeof goPlan, files: Record<string, string>, rest: Partial<PlanOptions> = {}): Plan {
  const runtime = of === goPlan ? 'go' : 'rust'
  const version = of === goPlan ? '1.26.8' : '1.95.0'
  return of({ source: new Map(Object.entries(files)), handler: '', shim, runtime, version, target, ...rest })
}

const goMod = 'module example.com/a\n'

test('goPlan gives a handler of package main a main, and the shim a place in the module', () => {
  const { files, isNative, steps } = plan(goPlan, { 'go.mod': goMod, 'main.go': 'package main\n\nfunc Handler() {}\n' })
  assert.ok(isNative)
  assert.match(
    files.get('hearth_main.go') ?? '',
    /hearth "example\.com\/a\/internal\/hearthruntime"[^]*hearth\.Start\(Handler\)/,
  )
  assert.deepEqual([...files.keys()], ['internal/hearthruntime/runtime.go', 'hearth_main.go'])
  assert.deepEqual(
    steps.map(({ title }) => title),
    ['go build', 'go version'],
  )
})

test('goPlan imports a handler of another package', () => {
  const source = { 'go.mod': goMod, 'api/hello/h.go': 'package hello\n\nvar Greet = func() {}\n' }
  const { files } = plan(goPlan, source, { handler: 'api/hello.Greet' })
  assert.match(
    files.get('internal/hearthmain/hearth_main.go') ?? '',
    /user "example\.com\/a\/api\/hello"[^]*Start\(user\.Greet\)/,
  )
})

test('goPlan requires the shim in go.mod where the source imports it', () => {
  const code = 'package main\n\nimport "hearth.dev/runtime"\n\nfunc Handler() {}\n'
  const { files, steps } = plan(goPlan, { 'go.mod': goMod, 'main.go': code })
  assert.ok(files.has('hearth_runtime/go.mod'))
  assert.match(steps[0]?.argv.join(' ') ?? '', /-replace=hearth\.dev\/runtime=\.\/hearth_runtime/)
})

test('goPlan leaves a main as it is', () => {
  const { files, isNative } = plan(goPlan, { 'go.mod': goMod, 'main.go': 'package main\n\nfunc main() {}\n' })
  assert.deepEqual([files.size, isNative], [0, false])
})

test('goPlan takes exactly the line that the runtime names', () => {
  const source = { 'main.go': 'package main\n\nfunc Handler() {}\n' }
  const toolchain = (runtime: string): string | undefined => plan(goPlan, source, { runtime }).env['GOTOOLCHAIN']
  assert.deepEqual(['go', 'go1.26', 'go1.22'].map(toolchain), ['auto', 'local', 'go1.22.12'])
  assert.throws(() => toolchain('go1.19'), /Invalid runtime "go1\.19": must be go, go1\.26, go1\.21/)
})

test('goPlan names what is not there', () => {
  const source = { 'go.mod': goMod, 'main.go': 'package main\n' }
  assert.throws(() => plan(goPlan, source), /it has no "func Handler"/)
  assert.throws(() => plan(goPlan, source, { handler: 'api.Run' }), /api has none/)
  assert.throws(() => plan(goPlan, source, { handler: '../x.Run' }), /Invalid handler "\.\.\/x\.Run"/)
})

const manifest = '[package]\nname = "my-crate"\n'

test('rustPlan gives a handler a main: in main.rs, or beside lib.rs', () => {
  const main = plan(rustPlan, { 'Cargo.toml': manifest, 'src/main.rs': 'fn handler() {}' })
  assert.match(
    main.files.get('src/main.rs') ?? '',
    /^fn handler\(\) \{\}\nfn main\(\) \{\n {4}hearth_runtime::run\(handler\)/,
  )
  const library = plan(rustPlan, { 'Cargo.toml': manifest, 'src/lib.rs': 'pub fn handler() {}' })
  assert.match(library.files.get('src/bin/hearth-bootstrap.rs') ?? '', /run\(my_crate::handler\)/)
})

test('rustPlan runs futures on tokio where the crate has it', () => {
  const source = { 'Cargo.toml': `${manifest}\n[dependencies]\ntokio = "1"\n`, 'src/main.rs': 'async fn handler() {}' }
  assert.match(plan(rustPlan, source).files.get('src/main.rs') ?? '', /run_on\(HearthTokio\(runtime\), handler\)/)
})

test('rustPlan holds to Cargo.lock, and to the version asked for', () => {
  const source = { 'Cargo.toml': manifest, 'Cargo.lock': '', 'src/main.rs': 'fn main() {}' }
  assert.deepEqual(plan(rustPlan, source).steps[1]?.argv, ['cargo', 'fetch', '--locked'])
  assert.throws(() => plan(rustPlan, source, { runtime: 'rust1.75' }), /Rust 1\.75 is not on this machine/)
  assert.throws(() => plan(rustPlan, { 'Cargo.toml': manifest, 'src/main.rs': '' }), /it has no "fn handler"/)
})

test("goPlan has the standard library compiled ahead, and net/http's part where modules may need it", () => {
  const main = { 'main.go': 'package main\n\nfunc Handler() {}\n' }
  const shared = (files: Record<string, string>): string[] => plan(goPlan, files).shared.map(({ title }) => title)
  const [base, web] = ["Go's standard library", "Go's standard library with net/http"]
  assert.deepEqual(shared({ ...main, 'go.mod': goMod }), [base])
  assert.deepEqual(shared({ ...main, 'go.mod': `${goMod}\nrequire x.y/z v1.0.0\n` }), [base, web])
  assert.deepEqual(shared({ 'main.go': `${main['main.go']}\nimport _ "net/http/httptest"\n` }), [base, web])
  assert.deepEqual(shared({ ...main, 'go.mod': `${goMod}\ngo 1.27\n` }), [], 'another toolchain may be fetched')
  const shim = new Map([['a.go', 'package hearth\n\nimport (\n\t"mime"\n\t"os/signal"\n)\n']])
  const [first] = plan(goPlan, main, { shim }).shared
  assert.match(first?.files.get('main.go') ?? '', /_ "mime"\n[^]*_ "os\/signal"\n/)
})

test("rustPlan keeps what was compiled of crates, and nothing of the source's own", () => {
  const cargo = `${manifest}\n[[bin]]\nname = "tool"\n\n[dependencies]\nserde_json = "1"\n`
  const { cache } = plan(rustPlan, { 'Cargo.toml': cargo, 'src/main.rs': 'fn handler() {}' })
  const kept = (name: string): boolean => new RegExp(cache.keep).test(name) && !new RegExp(cache.omit).test(name)
  const release = `target/${target.triple}/release`
  const digest = '0123456789abcdef'
  const names = [`deps/libserde_json-${digest}.rlib`, `.fingerprint/my-crate-x-${digest}/lib`, 'build/a/out/b.rs']
  for (const name of names) assert.ok(kept(`${release}/${name}`), name)
  const own = [`deps/my_crate-${digest}.d`, `deps/libmy_crate-${digest}.rlib`, `.fingerprint/my-crate-${digest}`]
  for (const name of [...own, `deps/tool-${digest}`, 'my-crate']) assert.ok(!kept(`${release}/${name}`), name)
  assert.ok(!kept('cargo/registry/src/x/serde/lib.rs'))
})

test('rustPlan puts another shim into another folder, where what was compiled of it may last', () => {
  const source = { 'Cargo.toml': manifest, 'src/main.rs': 'fn handler() {}' }
  const folder = (text: string): readonly string[] =>
    plan(rustPlan, source, { shim: new Map([['src/lib.rs', text]]) }).lasting
  assert.match(folder('a')[0] ?? '', /^\.hearth-runtime-[0-9a-f]{16}$/)
  assert.notDeepEqual(folder('a'), folder('b'))
})

test('isAsset keeps what is no source', () => {
  const names = ['main.go', 'go.sum', 'vendor/x/y.txt', 'static/a.html', 'Cargo.toml']
  assert.deepEqual(
    names.filter((name) => isAsset('go', name)),
    ['static/a.html', 'Cargo.toml'],
  )
})
