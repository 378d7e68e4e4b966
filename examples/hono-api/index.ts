import { Hono } from 'hono'
import { streamSSE } from 'hono/streaming'

/* A web-standard app: Hono's own `fetch` is the handler. What is in `notes` lives as long as the Instance. */

const notes = new Map<number, string>()
const app = new Hono()

app.get('/', (c) => c.json({ hello: 'Hono', notes: notes.size }))

app.post('/notes', async (c) => {
  const { text } = await c.req.json<{ text?: unknown }>().catch(() => ({ text: undefined }))
  if (typeof text !== 'string' || text === '') return c.json({ error: '"text" must be a text.' }, 400)
  const id = notes.size + 1
  notes.set(id, text)
  return c.json({ id, text }, 201)
})

app.get('/notes/:id', (c) => {
  const text = notes.get(Number(c.req.param('id')))
  return text === undefined ? c.notFound() : c.json({ text })
})

app.get('/count', (c) =>
  streamSSE(c, async (stream) => {
    for (let n = 1; n <= 3; n++) {
      await stream.writeSSE({ data: String(n) })
      await stream.sleep(100)
    }
  }),
)

export default app
