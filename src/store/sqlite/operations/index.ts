import * as aliases from './aliases.ts'
import * as audit from './audit.ts'
import type { Context } from './context.ts'
import * as functions from './functions.ts'
import * as keys from './keys.ts'
import * as layers from './layers.ts'
import * as meta from './meta.ts'
import * as preparations from './preparations.ts'
import * as projects from './projects.ts'
import * as secrets from './secrets.ts'
import * as storage from './storage.ts'
import * as urls from './urls.ts'

/** Everything the store's thread can be asked to read. */
export const reads = {
  'functions.get': functions.get,
  'functions.list': functions.list,
  'functions.versions': functions.versions,
  'functions.version': functions.version,
  'functions.pending': preparations.pending,
  'aliases.get': aliases.get,
  'aliases.list': aliases.list,
  'projects.get': projects.get,
  'projects.list': projects.list,
  'projects.functionCount': projects.functionCount,
  'keys.get': keys.get,
  'keys.list': keys.list,
  'secrets.sealed': secrets.sealed,
  'secrets.list': secrets.list,
  'secrets.users': secrets.users,
  'layers.get': layers.get,
  'layers.list': layers.list,
  'layers.versions': layers.versions,
  'storage.get': storage.get,
  'storage.bucket': storage.bucket,
  'storage.buckets': storage.buckets,
  'storage.list': storage.list,
  'storage.versions': storage.versions,
  'storage.names': storage.names,
  'storage.named': storage.named,
  'urls.get': urls.get,
  'urls.find': urls.find,
  'urls.list': urls.list,
  'audit.list': audit.list,
  'meta.get': meta.get,
  check: meta.check,
} as const

/** Everything it can be asked to change: group committed, each in its own savepoint. */
export const writes = {
  'functions.create': functions.create,
  'functions.publish': functions.publish,
  'functions.accept': preparations.accept,
  'functions.settle': preparations.settle,
  'functions.setLatest': functions.setLatest,
  'functions.delete': functions.remove,
  'functions.deleteVersion': functions.removeVersion,
  'aliases.set': aliases.set,
  'aliases.delete': aliases.remove,
  'projects.create': projects.create,
  'projects.update': projects.update,
  'keys.create': keys.create,
  'keys.revoke': keys.revoke,
  'secrets.set': secrets.set,
  'secrets.delete': secrets.remove,
  'layers.publish': layers.publish,
  'layers.delete': layers.remove,
  'storage.put': storage.put,
  'storage.delete': storage.remove,
  'urls.set': urls.set,
  'urls.delete': urls.remove,
  'audit.add': audit.add,
  'meta.set': meta.set,
} as const

export type Operations = typeof reads & typeof writes
export type OperationName = keyof Operations
export type OperationArgs<Name extends OperationName> = Operations[Name] extends (
  context: Context,
  ...args: infer Args
) => unknown
  ? Args
  : never
export type OperationResult<Name extends OperationName> = Awaited<ReturnType<Operations[Name]>>
