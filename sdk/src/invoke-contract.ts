/* What `POST /v1/functions/{name}/invoke` reads and answers beside bodies; the OpenAPI document and the reference page are printed from it. */

export interface HeaderRow {
  readonly name: string
  readonly about: string
}

export const invokeRequestHeaders: readonly HeaderRow[] = [
  {
    name: 'Content-Type',
    about: '`application/json` (the default): the body must be JSON. Any other type reaches the function as raw bytes.',
  },
  {
    name: 'Hearth-Deadline-Ms',
    about: 'Epoch ms after which nobody waits for the answer. Never later than the time limit of the function.',
  },
  { name: 'Hearth-Timeout-Ms', about: 'The same relative to now, for clients with wrong clocks: 0 to 300000.' },
  {
    name: 'Hearth-Priority',
    about: '0 (first) to 5 (last) among those that wait for the same function; 3 if left out.',
  },
  { name: 'Hearth-Log', about: '`tail`: the reply carries the last 4 KiB of the log of this invocation.' },
  {
    name: 'Hearth-Stream',
    about:
      '`true`: the reply comes as the function makes it (at most 200 MiB, setting `streamReplyMib`), under the status and headers that were known at its first byte. How it ended is in the trailers `Hearth-Outcome`, `Hearth-Effect`, `Hearth-Function-Error` and `Server-Timing`. One that was cut: a client that sent `TE: trailers` reads the outcome there, for any other the connection breaks off before the end. A function that fails before its first byte is answered as without. Not together with `Hearth-Log: tail`. A client that reads slowly slows the function; one that leaves cancels the invocation.',
  },
  { name: 'traceparent', about: 'W3C trace context; handed to the function.' },
]

export const invokeReplyHeaders: readonly HeaderRow[] = [
  { name: 'Hearth-Invocation-Id', about: 'Id of the receipt: `GET /v1/invocations/{id}`.' },
  {
    name: 'Hearth-Outcome',
    about: '`succeeded`, `failed`, `timed_out`, `cancelled`, `crashed`, `rejected` or `expired`.',
  },
  {
    name: 'Hearth-Effect',
    about:
      '`never_started`: a retry is safe. `may_have_committed`: user code began. `completed`: it came to its end, also by throwing.',
  },
  { name: 'Hearth-Version', about: 'Number of the version that ran.' },
  {
    name: 'Hearth-Start',
    about:
      '`warm`, or `cold;source=pool|snapshot|boot;cause=first|idle|evicted|scaled|new_version|crash|restart|reuse_never|snapshot_refused`.',
  },
  { name: 'Server-Timing', about: 'Phases known so far, in ms; the receipt has all.' },
  { name: 'Hearth-Function-Error', about: 'Only when the function failed: the type of its error.' },
  { name: 'Hearth-Log-Result', about: 'Only with `Hearth-Log: tail`: base64.' },
  {
    name: 'Hearth-Overload',
    about:
      'Only when rejected by a limit or for lack of capacity, or expired while it waited for one: `<resource>;<cause>`.',
  },
  { name: 'Retry-After', about: 'With `Hearth-Overload`: seconds.' },
]

export const invokeStatuses: readonly { readonly status: number; readonly about: string }[] = [
  {
    status: 200,
    about:
      'The result (JSON unless the function set a type; its own status if it set one). With `Hearth-Function-Error`: the function threw, the body is `{errorType, errorMessage, stackTrace}`.',
  },
  {
    status: 404,
    about: 'There is no such function or qualifier, or the function was deleted while the call waited (rejected).',
  },
  { status: 413, about: 'The request is larger than 6 MiB.' },
  { status: 429, about: 'Rejected by a limit of the function or project.' },
  { status: 499, about: 'Cancelled.' },
  {
    status: 502,
    about: 'Crashed (out of memory, exit, signal, full disk, failed start), or the response is larger than 6 MiB.',
  },
  { status: 503, about: 'Rejected for lack of capacity, or the deadline passed before the start.' },
  { status: 504, about: 'Timed out.' },
]
