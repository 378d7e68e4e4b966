import { agentLogsContract } from '../../test/contract/agent-logs.contract.ts'
import { agentContract } from '../../test/contract/agent.contract.ts'
import { AgentRig } from '../../test/support/agent-rig.ts'

agentContract('local', (...args) => AgentRig.fake(...args))
agentLogsContract('local', (...args) => AgentRig.fake(...args))
