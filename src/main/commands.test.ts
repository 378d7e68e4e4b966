import assert from 'node:assert/strict'
import { test } from 'node:test'
import { commands } from '../cli/commands.ts'
import { exitCodes } from '../cli/exit-codes.ts'
import { helpOf } from '../cli/program.ts'
import { errorCodes } from '../domain/error.ts'
import { outcomes } from '../domain/invocation.ts'
import { machineCommands } from './commands.ts'
import { configKeys, flagOf } from './config-keys.ts'

test('exitCodes: every error code and every outcome has one', () => {
  for (const name of [...errorCodes, ...outcomes]) assert.ok(name in exitCodes, name)
})

test('hearth up: every setting is a flag, and its help says so', () => {
  const help = helpOf('up', { commands: [...machineCommands, ...commands], version: '1' })
  for (const name of Object.keys(configKeys)) assert.ok(help.includes(`--${flagOf(name)}`), name)
})
