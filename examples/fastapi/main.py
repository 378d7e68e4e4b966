"""A FastAPI service, unchanged: a checked body, server-sent events and a WebSocket."""

import asyncio

from fastapi import FastAPI, WebSocket, WebSocketDisconnect
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field

app = FastAPI(title="greeter")


class Greeting(BaseModel):
    name: str = Field(min_length=1, max_length=100)
    times: int = Field(default=1, ge=1, le=10)


@app.post("/")
async def greet(greeting: Greeting):
    return {"text": " ".join([f"Hello, {greeting.name}!"] * greeting.times)}


@app.get("/count")
async def count(to: int = 3, pause: float = 0.1):
    async def events():
        for n in range(1, to + 1):
            yield f"data: {n}\n\n"
            await asyncio.sleep(pause)

    return StreamingResponse(events(), media_type="text/event-stream")


@app.websocket("/echo")
async def echo(socket: WebSocket):
    await socket.accept()
    try:
        while True:
            await socket.send_text((await socket.receive_text()).upper())
    except WebSocketDisconnect:
        pass
