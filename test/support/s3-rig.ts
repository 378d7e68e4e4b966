import { CreateBucketCommand, PutBucketVersioningCommand, S3Client } from '@aws-sdk/client-s3'
import assert from 'node:assert/strict'
import { startCuttingProxy, type CuttingProxy } from './cutting-proxy.ts'
import { call } from './functions.ts'
import { startPlatform, type Platform } from './platform.ts'
import { startS3Server, type S3Server } from './s3-server.ts'
import { Undo } from '../../src/domain/undo.ts'

/** A platform whose s3:// addresses go to a real S3 server, through a proxy that spoils answers when it is told to. */
export interface S3Rig {
  readonly server: S3Server
  readonly proxy: CuttingProxy
  /** Past the proxy, allowed to do everything. */
  readonly client: S3Client
  readonly platform: Platform
  /** Gives the project's secret `name` these credentials. */
  setSecret(name: string, credentials: S3Server['credentials']): Promise<void>
  /** Makes a bucket that keeps each version of an object. */
  makeVersioned(bucket: string): Promise<void>
  /** The proxy passes everything on again. */
  calm(): void
  stop(): Promise<void>
}

/** The platform signs with the secret `s3`, which may do everything. */
export async function openS3Rig(program: string, options: S3RigOptions): Promise<S3Rig> {
  const undo = new Undo()
  try {
    return await open(program, options, undo)
  } catch (error) {
    await undo.run()
    throw error
  }
}

interface S3RigOptions {
  readonly buckets: readonly string[]
  readonly env?: Record<string, string>
}

async function open(program: string, { buckets, env = {} }: S3RigOptions, undo: Undo): Promise<S3Rig> {
  const server = await startS3Server(program)
  undo.add('server', async () => server.stop())
  const proxy = await startCuttingProxy(server.url)
  undo.add('proxy', async () => proxy.stop())
  const { url: endpoint, credentials } = server
  const client = new S3Client({ endpoint, region: 'us-east-1', forcePathStyle: true, credentials })
  undo.add('client', () => client.destroy())
  const makeBucket = async (Bucket: string): Promise<void> => {
    await client.send(new CreateBucketCommand({ Bucket }))
  }
  for (const bucket of buckets) await makeBucket(bucket)
  const flags = ['--s3-endpoint', proxy.url, '--s3-secret', 's3', '--source-retry-ms', '2000']
  const platform = await startPlatform({ flags, env })
  undo.add('platform', async () => void (await platform.stop()))
  const rig: S3Rig = {
    ...{ server, proxy, client, platform },
    async setSecret(name, { accessKeyId, secretAccessKey }) {
      const value = `${accessKeyId}:${secretAccessKey}`
      assert.equal((await call(platform, 'PUT', `/v1/secrets/${name}`, { value })).status, 200)
    },
    async makeVersioned(Bucket) {
      await makeBucket(Bucket)
      const VersioningConfiguration = { Status: 'Enabled' } as const
      await client.send(new PutBucketVersioningCommand({ Bucket, VersioningConfiguration }))
    },
    calm() {
      proxy.cuts = []
      proxy.storms = 0
      proxy.ranges.length = 0
      proxy.onRequest = async () => {}
    },
    stop: async () => undo.run(),
  }
  await rig.setSecret('s3', credentials)
  return rig
}
