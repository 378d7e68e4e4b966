export * from './client.ts'
export * from './contract.ts'
export { openapi } from './openapi.ts'
