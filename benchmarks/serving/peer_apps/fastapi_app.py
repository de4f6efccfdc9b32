"""A hand-written FastAPI: `MODEL=... uvicorn fastapi_app:app`."""

import os

import lightgbm
import numpy as np
from fastapi import FastAPI
from pydantic import BaseModel

app = FastAPI()
booster = lightgbm.Booster(model_file=os.environ["MODEL"])


class Rows(BaseModel):
    """Rows of features."""

    rows: list[list[float]]


@app.post("/predict")
def predict(body: Rows) -> dict[str, list[float]]:
    """Answer every row."""
    return {"predictions": booster.predict(np.array(body.rows), num_threads=1).tolist()}
