import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ActiveRuns, type Linked } from './active-runs.ts'

interface Member extends Linked<Member> {
  readonly id: string
}

const member = (id: string): Member => ({ id, previous: null, next: null })

test('ActiveRuns: finds members until they leave, in whatever order they leave', () => {
  for (const order of ['abc', 'acb', 'bac', 'bca', 'cab', 'cba']) {
    const runs = new ActiveRuns<Member>()
    const members = new Map(['a', 'b', 'c'].map((id) => [id, member(id)]))
    for (const one of members.values()) runs.add(one)
    const left = new Set<string>()
    for (const id of order) {
      const leaving = members.get(id)
      assert.ok(leaving)
      runs.remove(leaving)
      left.add(id)
      for (const [other, expected] of members) assert.equal(runs.find(other), left.has(other) ? null : expected, order)
    }
  }
})

test('ActiveRuns: leaving twice is harmless', () => {
  const runs = new ActiveRuns<Member>()
  const [a, b] = [member('a'), member('b')]
  runs.add(a)
  runs.add(b)
  runs.remove(a)
  runs.remove(a)
  assert.equal(runs.find('b'), b)
})
