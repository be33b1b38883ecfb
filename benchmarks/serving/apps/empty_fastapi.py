"""FastAPI at its cheapest: a route without parameters that answers a constant."""

from fastapi import FastAPI, Response

from benchmarks.serving.predictions import CONSTANT

app = FastAPI()


@app.get("/constant")
async def constant() -> Response:
    """Answer."""
    return Response(CONSTANT, media_type="application/json")
