import { tidy } from './tidy.ts'
import assert from 'node:assert/strict'
import { test } from 'node:test'

/** Each rule: a file it objects to, what it says, and a file that it lets pass. */
const rules: readonly {
  rule: string
  bad: [path: string, text: string]
  says: RegExp
  good: [path: string, text: string]
}[] = [
  {
    rule: 'direction',
    bad: ['src/domain/a.ts', `import { x } from '../control/b.ts'\n`],
    says: /^src\/domain\/a\.ts:1 "src\/domain" may import itself, not "src\/control\/b\.ts"\. Take it as a parameter/,
    good: ['src/control/a.ts', `import { x } from '../domain/b.ts'\n`],
  },
  {
    rule: 'direction',
    bad: ['src/store/sqlite/a.ts', `\nimport { x } from '../../artifact/b.ts'\n`],
    says: /^src\/store\/sqlite\/a\.ts:2 "src\/store" may import itself, domain, not "src\/artifact\/b\.ts"/,
    good: ['src/store/sqlite/a.ts', `import { x } from './operations/b.ts'\n`],
  },
  {
    rule: 'direction',
    bad: ['src/driver/process/a.ts', `import type {\n  X,\n} from '../qemu/b.ts'\n`],
    says: /"driver\/process" must not import its sibling "driver\/qemu"\. Move what both need into src\/domain/,
    good: ['src/driver/process/a.ts', `import { x } from '../../wire/frame.ts'\n`],
  },
  {
    rule: 'direction',
    bad: ['src/cli/a.ts', `const { x } = await import('../http/b.ts')\n`],
    says: /"src\/cli" may import itself, sdk, not "src\/http\/b\.ts"/,
    good: ['src/cli/a.ts', `import { x } from '@hearth/sdk'\n`],
  },
  {
    rule: 'direction',
    bad: ['src/artifact/a.ts', `import { x } from '../../test/support/b.ts'\n`],
    says: /Code must not import tests/,
    good: ['src/artifact/a.test.ts', `import { x } from '../../test/support/b.ts'\n`],
  },
  {
    rule: 'direction',
    bad: ['src/utils/a.ts', ''],
    says: /"src\/utils" is not a folder of the house/,
    good: ['src/main/a.ts', `import { x } from '../store/sqlite/store.ts'\n`],
  },
  {
    rule: 'ambient',
    bad: ['src/agent/a.ts', 'const home = process.env.HOME\n'],
    says: /process\.env is read in src\/main\/config\.ts only/,
    good: ['src/main/config.ts', 'const home = process.env.HOME\n'],
  },
  {
    rule: 'ambient',
    bad: ['src/agent/a.ts', '\n\nconsole.log(1)\n'],
    says: /^src\/agent\/a\.ts:3 console\.log writes past the log\. Take a Logger/,
    good: ['src/cli/a.ts', 'console.log(1)\n'],
  },
  {
    rule: 'ascii',
    bad: ['src/agent/a.ts', "const arrow = '\u2192'\n"],
    says: /Code is ASCII\. Write \\u\{2192\}/,
    good: ['docs/a.md', '\u2192\n'],
  },
  {
    rule: 'todo',
    bad: ['guest/src/main.rs', '// TODO later\n'],
    says: /has no owner\. Do it, or name the issue/,
    good: ['guest/src/main.rs', '// TODO (#12) later\n'],
  },
  {
    rule: 'focus',
    bad: ['src/agent/a.test.ts', "test.only('x', () => {})\n"],
    says: /leaves tests out\. Remove it/,
    good: ['src/agent/a.test.ts', "t.skip('needs root')\n"],
  },
  {
    rule: 'machine-path',
    bad: ['docs/a.md', 'see /root/notes\n'],
    says: /is a path of one machine/,
    good: ['docs/a.md', 'see ./docs/root/notes and https://example.org/root/\n'],
  },
  {
    rule: 'file-length',
    bad: ['src/agent/a.ts', 'a\n'.repeat(351)],
    says: /351 lines, more than 350\. Split it/,
    good: ['src/agent/a.ts', 'a\n'.repeat(350)],
  },
  {
    rule: 'function-length',
    bad: ['src/agent/a.ts', `\nexport async function f(): Promise<void> {\n${'  a()\n'.repeat(69)}}\n`],
    says: /^src\/agent\/a\.ts:2 A function of 71 lines, more than 70/,
    good: ['src/agent/a.ts', `export async function f(): Promise<void> {\n${'  a()\n'.repeat(68)}}\n`],
  },
  {
    rule: 'function-length',
    bad: ['src/agent/a.ts', `class A {\n  #f(\n    a: string,\n  ): void {\n${'    a()\n'.repeat(70)}  }\n}\n`],
    says: /^src\/agent\/a\.ts:4 A function of 72 lines/,
    good: ['src/agent/a.ts', `const table = {\n${'  a,\n'.repeat(100)}}\n`],
  },
  {
    rule: 'dead-file',
    bad: ['src/agent/a.ts', 'export {}\n'],
    says: /Nothing imports or starts this file\. Delete it/,
    good: ['src/agent/a.test.ts', 'export {}\n'],
  },
]

for (const { rule, bad, says, good } of rules) {
  test(`tidy ${rule}: ${JSON.stringify(bad[1]).slice(0, 50)} in ${bad[0]}`, () => {
    const objections = findingsOf(bad, rule)
    assert.equal(objections.length, 1, objections.join('\n'))
    assert.match(objections[0] ?? '', says)
    assert.deepEqual(findingsOf(good, rule), [])
  })
}

test('tidy counts imports, URLs of workers, scripts and programs started by path as users of a file', () => {
  const findings = tidy([
    { path: 'src/agent/a.ts', text: 'export {}\n' },
    { path: 'src/agent/worker.ts', text: 'export {}\n' },
    { path: 'tools/check.ts', text: 'export {}\n' },
    { path: 'src/agent/a.test.ts', text: `import './a.ts'\nnew Worker(new URL('./worker.ts', import.meta.url))\n` },
    { path: 'test/support/relay.mjs', text: 'export {}\n' },
    { path: 'test/support/b.ts', text: `import '../../src/agent/a.ts'\npath.join(import.meta.dirname, 'relay.mjs')\n` },
    { path: 'test/support/b.test.ts', text: `import './b.ts'\n` },
    { path: 'package.json', text: '{ "scripts": { "check": "node tools/check.ts" } }' },
  ])
  assert.deepEqual(findings, [])
})

function findingsOf([path, text]: [path: string, text: string], rule: string): string[] {
  return tidy([{ path, text }])
    .filter((finding) => finding.rule === rule)
    .map((finding) => `${finding.path}:${finding.line} ${finding.message}`)
}
