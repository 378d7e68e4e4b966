'use strict'

/** Node's own `import()`, for modules that lie in a bundle: Node 20 does not find it from a script with bytecode. */
module.exports = { importModule: (url) => import(url) }
