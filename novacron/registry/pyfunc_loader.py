"""Lets any MLflow client load a registered bundle: named by `loader_module`, no pickle involved."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from novacron.errors import ArtifactError
from novacron.models.base import ServableModel
from novacron.registry.card import ModelCard
from novacron.registry.loading import load_checked

CARD_FILE: Final = "card.json"
# The digests decide here; the registry's own limit was applied when the bundle was accepted.
MAX_BYTES: Final = 1 << 40


class PyfuncBundle:
    """A servable model behind MLflow's `predict`."""

    def __init__(self, model: ServableModel) -> None:
        self.model = model

    def predict(
        self, model_input: Mapping[str, NDArray[np.generic]], params: object = None
    ) -> dict[str, NDArray[np.generic]]:
        """Answer one request given as named tensors.

        MLflow's tensor signatures know no optional tensors: the signature lists the required ones
        and MLflow drops all others, so this path answers from the required alone.
        """
        del params
        return self.model.predict(self.model.prepare(dict(model_input)))


def _load_pyfunc(data_path: str) -> Any:  # the name MLflow looks for
    """Load `<model>/data/bundle` after checking it against the card stored beside `data`.

    Raises:
        ArtifactError: The card is missing or a file is not the one it lists.
    """
    bundle_dir = Path(data_path)
    card_path = bundle_dir.parent.parent / CARD_FILE
    try:
        card = ModelCard.model_validate_json(card_path.read_bytes())
    except (OSError, ValidationError) as cause:
        raise ArtifactError(
            f"{CARD_FILE} is missing or unreadable beside the bundle.",
            remedy="Register the model again from its training run.",
        ) from cause
    return PyfuncBundle(load_checked(bundle_dir, card, max_bytes=MAX_BYTES))
