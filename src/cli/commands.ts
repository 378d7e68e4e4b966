import type { Command } from './command.ts'
import aliasDelete from './commands/alias-delete.ts'
import aliasList from './commands/alias-list.ts'
import aliasSet from './commands/alias-set.ts'
import auditLog from './commands/audit-log.ts'
import completion from './commands/completion.ts'
import dev from './commands/dev.ts'
import functionCreate from './commands/function-create.ts'
import functionDelete from './commands/function-delete.ts'
import functionGet from './commands/function-get.ts'
import functionInvoke from './commands/function-invoke.ts'
import functionList from './commands/function-list.ts'
import functionLogs from './commands/function-logs.ts'
import functionRollback from './commands/function-rollback.ts'
import functionUpdate from './commands/function-update.ts'
import functionUrlCreate from './commands/function-url-create.ts'
import functionUrlDelete from './commands/function-url-delete.ts'
import functionUrlGet from './commands/function-url-get.ts'
import functionUrlList from './commands/function-url-list.ts'
import functionVersions from './commands/function-versions.ts'
import init from './commands/init.ts'
import invocationCancel from './commands/invocation-cancel.ts'
import invocationGet from './commands/invocation-get.ts'
import invocationList from './commands/invocation-list.ts'
import keyCreate from './commands/key-create.ts'
import keyList from './commands/key-list.ts'
import keyRevoke from './commands/key-revoke.ts'
import layerDelete from './commands/layer-delete.ts'
import layerGet from './commands/layer-get.ts'
import layerList from './commands/layer-list.ts'
import layerPublish from './commands/layer-publish.ts'
import nodeList from './commands/node-list.ts'
import projectCreate from './commands/project-create.ts'
import projectGet from './commands/project-get.ts'
import projectList from './commands/project-list.ts'
import projectUpdate from './commands/project-update.ts'
import projectUse from './commands/project-use.ts'
import runtimeList from './commands/runtime-list.ts'
import secretDelete from './commands/secret-delete.ts'
import secretList from './commands/secret-list.ts'
import secretRotate from './commands/secret-rotate.ts'
import secretSet from './commands/secret-set.ts'
import storageGet from './commands/storage-get.ts'
import storageLs from './commands/storage-ls.ts'
import storagePut from './commands/storage-put.ts'
import storageRm from './commands/storage-rm.ts'
import versionDelete from './commands/version-delete.ts'
import versionPrune from './commands/version-prune.ts'

/** Every command that talks to a platform or needs none, in the order that help shows them. */
export const commands: readonly Command[] = [
  ...[init, dev, completion],
  ...[functionCreate, functionUpdate, functionInvoke, functionLogs, functionList, functionGet],
  ...[functionVersions, functionRollback, functionDelete],
  ...[functionUrlCreate, functionUrlGet, functionUrlList, functionUrlDelete],
  ...[invocationGet, invocationList, invocationCancel],
  ...[aliasSet, aliasList, aliasDelete],
  ...[versionDelete, versionPrune],
  ...[layerPublish, layerList, layerGet, layerDelete],
  ...[storagePut, storageLs, storageGet, storageRm],
  ...[secretSet, secretRotate, secretList, secretDelete],
  ...[keyCreate, keyList, keyRevoke],
  ...[projectCreate, projectList, projectGet, projectUpdate, projectUse],
  ...[runtimeList, nodeList, auditLog],
]
