"""Ray Serve without this project: `@serve.batch` and row by row, both on Serve's defaults."""

import os
from typing import Any

import lightgbm
import numpy as np
from ray import serve
from starlette.requests import Request


@serve.deployment
class Batched:
    """`@serve.batch` as the documentation shows it, with room for its batches."""

    def __init__(self) -> None:
        self.booster = lightgbm.Booster(model_file=os.environ["MODEL"])

    @serve.batch(max_batch_size=64, batch_wait_timeout_s=0.005)
    async def predict(self, bodies: list[Any]) -> list[Any]:
        """Answer the rows of several requests by one call."""
        rows = [np.array(body["rows"]) for body in bodies]
        answers = self.booster.predict(np.concatenate(rows), num_threads=1)
        ends = np.cumsum([len(one) for one in rows])[:-1]
        return [{"predictions": part.tolist()} for part in np.split(answers, ends)]

    async def __call__(self, request: Request) -> Any:
        """Take one request."""
        return await self.predict(await request.json())


@serve.deployment
class Naive:
    """Row by row, on Serve's defaults: what one writes first."""

    def __init__(self) -> None:
        self.booster = lightgbm.Booster(model_file=os.environ["MODEL"])

    async def __call__(self, request: Request) -> Any:
        """Take one request and ask the model for each of its rows."""
        rows = (await request.json())["rows"]
        answers = [float(self.booster.predict([row], num_threads=1)[0]) for row in rows]
        return {"predictions": answers}


batched = Batched.options(max_ongoing_requests=256).bind()
naive = Naive.bind()
