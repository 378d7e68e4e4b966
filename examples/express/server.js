import express from 'express'

/* Any Express app runs as it is: it listens on $PORT, as on Cloud Run and elsewhere. */

const app = express()
app.disable('x-powered-by')
app.use(express.json())

app.get('/', (request, response) => {
  response.json({ hello: 'Express', by: request.get('x-forwarded-host') ?? null })
})

app.post('/', (request, response) => {
  response.json({ sum: Object.values(request.body ?? {}).reduce((sum, value) => sum + Number(value), 0) })
})

app.get('/count', (_request, response) => {
  response.type('text/event-stream')
  let n = 0
  const timer = setInterval(() => {
    response.write(`data: ${++n}\n\n`)
    if (n === 3) response.end()
  }, 100)
  response.on('close', () => clearInterval(timer))
})

app.listen(Number(process.env.PORT ?? 8080))
