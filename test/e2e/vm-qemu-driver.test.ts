import { driverContract } from '../contract/driver.contract.ts'
import { vmHarness } from '../support/vm-harness.ts'
import { openVmRig, vmMissing } from '../support/vm-rig.ts'

driverContract('qemu', async () => vmMissing() ?? vmHarness(await openVmRig()))
