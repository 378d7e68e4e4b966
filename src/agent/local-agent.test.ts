import { agentContract } from '../../test/contract/agent.contract.ts'
import { AgentRig } from '../../test/support/agent-rig.ts'

agentContract('local', (...args) => AgentRig.fake(...args))
