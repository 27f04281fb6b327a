"""The least that a FastAPI server can do: what the engine's server is measured against."""

from fastapi import FastAPI

app = FastAPI()


@app.get("/")
async def hello():
    return {"message": "hello", "ok": True}
