import { defineCommand } from '../command.ts'
import { table } from '../output.ts'

export default defineCommand({
  name: 'node list',
  summary: 'List nodes, their Instances, and what their drivers do not enforce',
  args: {},
  flags: {},
  examples: ['hearth node list'],
  async run({ output, client }) {
    const { items } = await (await client()).listNodes({})
    if (output.isJson) return output.json({ items })
    const rows = items.map(({ node, arch, draining, memoryMib, freeMib, drivers, instances }) => [
      node,
      arch,
      draining ? 'draining' : 'ready',
      drivers
        .filter(({ works }) => works)
        .map(({ name, vmm }) => (vmm === null ? name : `${name} (${vmm.name} ${vmm.version}, ${vmm.accelerator})`))
        .join(', '),
      `${freeMib} of ${memoryMib} MiB`,
      `${instances.busy} busy, ${instances.ready} ready, ${instances.frozen} frozen, ${instances.booted} booted`,
    ])
    output.line(table(['NODE', 'ARCH', 'STATE', 'DRIVERS', 'FREE MEMORY', 'INSTANCES'], rows))
    for (const { node, drivers } of items)
      for (const { name, enforced } of drivers) {
        // One reason often takes several features away.
        const lost = Map.groupBy(
          enforced.filter((each) => !each.enforced),
          ({ detail }) => detail,
        )
        for (const [detail, features] of lost) {
          const names = features.map(({ feature }) => feature).join(', ')
          output.line(`${output.paint('yellow', 'not enforced')} ${names} on ${node} (${name}): ${detail}`)
        }
      }
  },
})
