import type { FunctionUrlView } from '@hearth/sdk'
import type { Control, UrlInput } from '../domain/control.ts'
import type { CorsConfig, FunctionUrl } from '../domain/function-url.ts'
import type { Call, HandlersOf } from './call.ts'
import { urlTexts, type UrlPlace } from './url-place.ts'

interface UrlBody {
  readonly auth: UrlInput['auth']
  readonly mode?: UrlInput['mode']
  readonly qualifier?: string | null
  readonly cors?: Partial<CorsConfig> | null
}

const corsDefault: CorsConfig = {
  allowOrigins: [],
  allowMethods: [],
  allowHeaders: [],
  exposeHeaders: [],
  maxAgeSeconds: 0,
  allowCredentials: false,
}

/** Function URLs' rows of the contract table bound to the control. */
export function urlHandlers(
  { urls }: Control,
  place: UrlPlace,
): HandlersOf<'putFunctionUrl' | 'getFunctionUrl' | 'deleteFunctionUrl' | 'listFunctionUrls'> {
  const name = ({ params }: Call): string => params['name'] ?? ''
  return {
    putFunctionUrl: async (call) => {
      const { auth, mode = 'buffered', qualifier = null, cors = null } = call.body as UrlBody
      const input = { auth, mode, qualifier, cors: cors === null ? null : { ...corsDefault, ...cors } }
      return urlJson(await urls.put(call.caller, name(call), input), place)
    },
    getFunctionUrl: async (call) => urlJson(await urls.get(call.caller, name(call)), place),
    deleteFunctionUrl: async (call) => urls.delete(call.caller, name(call)),
    listFunctionUrls: async ({ caller }) => ({ items: (await urls.list(caller)).map((url) => urlJson(url, place)) }),
  }
}

function urlJson(url: FunctionUrl, place: UrlPlace): FunctionUrlView {
  const { functionName, project: _project, cors, ...rest } = url
  return { function: functionName, ...rest, cors: cors === null ? null : copyOf(cors), ...urlTexts(url, place) }
}

function copyOf(cors: CorsConfig): NonNullable<FunctionUrlView['cors']> {
  return {
    ...cors,
    allowOrigins: [...cors.allowOrigins],
    allowMethods: [...cors.allowMethods],
    allowHeaders: [...cors.allowHeaders],
    exposeHeaders: [...cors.exposeHeaders],
  }
}
