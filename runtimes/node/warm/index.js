'use strict'
// Loaded and run once by warm-up.cjs; never user code.
exports.handler = async (event, context) => ({ event, left: context.getRemainingTimeInMillis() })
