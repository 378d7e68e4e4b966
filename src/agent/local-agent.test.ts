import { agentEndsContract } from '../../test/contract/agent-ends.contract.ts'
import { agentLifeContract } from '../../test/contract/agent-life.contract.ts'
import { agentLogsContract } from '../../test/contract/agent-logs.contract.ts'
import { agentSeatsContract } from '../../test/contract/agent-seats.contract.ts'
import { agentStartsContract } from '../../test/contract/agent-starts.contract.ts'
import { agentUsageContract } from '../../test/contract/agent-usage.contract.ts'
import { agentContract } from '../../test/contract/agent.contract.ts'
import { AgentRig } from '../../test/support/agent-rig.ts'

for (const contract of [
  agentContract,
  agentEndsContract,
  agentLifeContract,
  agentLogsContract,
  agentSeatsContract,
  agentStartsContract,
  agentUsageContract,
])
  contract('local', (...args) => AgentRig.fake(...args))
