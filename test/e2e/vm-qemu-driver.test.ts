import { driverContract } from '../contract/driver.contract.ts'
import { driverRecoverContract } from '../contract/driver-recover.contract.ts'
import { vmHarness, vmSuccession } from '../support/vm-harness.ts'
import { openVmRig, vmMissing } from '../support/vm-rig.ts'

driverContract('qemu', async () => vmMissing() ?? vmHarness(await openVmRig()))

driverRecoverContract('qemu', async () => vmMissing() ?? vmSuccession(await openVmRig()))
