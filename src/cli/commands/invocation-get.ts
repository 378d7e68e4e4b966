import { defineCommand } from '../command.ts'
import { renderReceipt } from '../receipt.ts'

export default defineCommand({
  name: 'invocation get',
  summary: 'Show the receipt of an invocation: outcome, and where each millisecond went',
  args: { id: { about: 'as "function invoke" prints it, or header Hearth-Invocation-Id' } },
  flags: {},
  examples: ['hearth invocation get 019aa5c8-7a3e-7cc1-8f2e-0a1b2c3d4e5f'],
  async run({ output, client }, { args }) {
    const receipt = await (await client()).getInvocation({ id: args.id })
    if (output.isJson) output.json(receipt)
    else output.line(renderReceipt(receipt, { columns: output.columns, paint: output.paint }))
  },
})
