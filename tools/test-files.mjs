/* Reporter of node:test: a line of JSON for each test file that ended, {file, isGood, counts, seconds}, from which tools/test.mjs knows what to run again and what took long.
 * A file whose process broke off has a second line, or that one alone: as a test that failed, as node:test counts it. */
export default async function* files(events) {
  for await (const { type, data } of events) {
    if (data?.file === undefined) continue
    if (type === 'test:summary') yield line(data.file, data.success, data.counts, data.duration_ms)
    else if (type === 'test:fail' && data.name === data.file)
      yield line(data.file, false, { tests: 1, failed: 1 }, data.details.duration_ms)
  }
}

function line(file, isGood, counts, durationMs) {
  return `${JSON.stringify({ file, isGood, counts, seconds: durationMs / 1000 })}\n`
}
