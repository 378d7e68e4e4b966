import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { elfBytes, elfMachines, readElf, readElfSection } from './elf.ts'

const node = readFileSync(process.execPath)

test('readElf: of this very interpreter, its loader and libraries', () => {
  const elf = readElf(node)
  assert.equal(elf?.machine, process.arch === 'arm64' ? elfMachines.arm64 : elfMachines.x64)
  assert.match(elf?.interpreter ?? '', /^\/lib.*\/ld-linux.*\.so\.\d$/)
  assert.ok(elf?.needed.includes('libc.so.6'), String(elf?.needed))
  assert.ok(elf.notes.some(({ name }) => name === 'GNU'))
  assert.deepEqual([elf.soname, elf.rpath], [null, []])
})

test('readElfSection: by name; null for one that is not there', () => {
  assert.equal(readElfSection(node, '.interp')?.toString(), `${readElf(node)?.interpreter}\0`)
  assert.equal(readElfSection(node, '.nothing'), null)
})

test('elfBytes: of a whole file no more than it has, the same when it is cut off; null without headers', () => {
  const shell = readFileSync('/bin/sh')
  const bytes = elfBytes(shell)
  assert.ok(bytes !== null && bytes <= shell.length, String(bytes))
  assert.equal(elfBytes(shell.subarray(0, 4096)), bytes)
  assert.deepEqual([elfBytes(shell.subarray(0, 70)), elfBytes(Buffer.from('#!/bin/sh\n'))], [null, null])
})

test('readElf: what is no ELF, cut off or damaged is null, never an exception', () => {
  assert.equal(readElf(Buffer.from('#!/bin/sh\n')), null)
  assert.equal(readElf(Buffer.alloc(0)), null)
  // A real program, small enough to try hundreds of damages on: header, tables and strings are in its first and last pages.
  const shell = readFileSync('/bin/sh')
  for (let bytes = 0; bytes < 4096; bytes += 61) {
    readElf(shell.subarray(0, bytes))
    readElfSection(shell.subarray(0, bytes), '.dynamic')
    elfBytes(shell.subarray(0, bytes))
  }
  for (let at = 0; at < 1024; at += 3) {
    const damaged = Buffer.from(shell)
    damaged.fill(0xff, at, at + 8)
    readElf(damaged)
    readElfSection(damaged, '.dynamic')
    elfBytes(damaged)
  }
})
