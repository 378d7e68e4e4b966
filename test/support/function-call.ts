import { deployFiles, invoke, type Deployment, type Target } from './functions.ts'

/* One deploy or invocation as a process of its own: for tests whose platform lives in another network namespace. */

const [action, text = '{}'] = process.argv.slice(2)
const { target, value } = JSON.parse(text) as { target: Target; value: unknown }
if (action === 'deploy') await deployFiles(target, value as Deployment)
else {
  const { name, event } = value as { name: string; event: unknown }
  const reply = await invoke(target, name, event)
  if (reply.headers.get('hearth-outcome') !== 'succeeded') throw new Error(`${reply.status} ${reply.body.toString()}`)
  process.stdout.write(reply.body)
}
