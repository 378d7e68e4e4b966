import { CliError } from '../cli-error.ts'
import { defineCommand } from '../command.ts'
import { completionScripts } from '../completion.ts'

export default defineCommand({
  name: 'completion',
  summary: 'Print the completion script of a shell',
  args: { shell: { about: 'bash, zsh or fish' } },
  flags: {},
  examples: ['source <(hearth completion bash)', 'hearth completion fish > ~/.config/fish/completions/hearth.fish'],
  async run({ output }, { args: { shell } }) {
    if (shell !== 'bash' && shell !== 'zsh' && shell !== 'fish')
      throw new CliError(`Invalid shell "${shell}": must be bash, zsh or fish.`)
    if (output.isJson) output.json({ shell, script: completionScripts[shell] })
    else output.result(completionScripts[shell])
  },
})
