"""The typed routes: one table, one handler, whatever the model.

A route is a model's name and what its entity is called; fields, datatypes, units and ranges come
from the model's own tensor specs. Rows whose histories differ in length are asked in groups, and a
row that is refused fails alone.
"""

import asyncio
import logging
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

from novacron.errors import (
    DeadlineExceededError,
    InvalidInputError,
    ModelNotFoundError,
    NotFoundError,
    NotReadyError,
    NovacronError,
    OverloadedError,
)
from serve_apps.dataplane import DataPlane
from serve_apps.domain.completion import Histories
from serve_apps.domain.records import SHAPES, build_record, values_of
from serve_apps.domain.rows import Row, Shapes, join_rows, shapes_of, split_rows
from serve_apps.host import ServedModel
from serve_apps.messages import InferAnswer, InferRequest, is_number, row_id, unexpected
from serve_apps.metrics import Timing
from serve_apps.oip import parse_json

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Route:
    """One typed route."""

    path: str
    model: str
    """Name under which its model is served; empty where the request names it."""
    entity: str
    """Field that says what a row is about; it comes back in the record."""
    summary: str
    trained_by: str = ""
    """Command that trains and registers its model, where it is not `novacron train`."""

    @property
    def train(self) -> str:
        """The command that trains and registers its model."""
        return self.trained_by or f"novacron train --model {self.model}"


ROUTES: Final = (
    Route(
        path="/api/v1/predict/bandwidth",
        model="bandwidth",
        entity="link_id",
        summary="Forecast the bandwidth of a link over its next steps",
    ),
    Route(
        path="/api/v1/predict/performance",
        model="performance",
        entity="vm_id",
        summary="Predict the performance of a VM",
    ),
    Route(
        path="/api/v1/anomalies/detect",
        model="anomaly",
        entity="entity_id",
        summary="Judge the newest sample of a metric by those before it",
    ),
    Route(
        path="/api/v1/placement/optimize",
        model="placement",
        entity="workload_id",
        summary="Rank the nodes on which a workload could run",
    ),
    Route(
        path="/api/v1/scaling/recommend",
        model="scaling",
        entity="vm_id",
        summary="Forecast the demand of a VM and recommend a size",
    ),
    Route(
        path="/api/v1/patterns/recognize",
        model="patterns",
        entity="workload_id",
        summary="Name the pattern of a window of usage, and its period",
    ),
    Route(
        path="/api/v1/capacity/plan",
        model="capacity",
        entity="entity_id",
        summary="Forecast usage over days and say when a limit is reached",
    ),
    Route(
        path="/api/v1/parameters/optimize",
        model="optimizer",
        entity="entity_id",
        summary="Recommend protocol parameters for a state of the network",
        trained_by="novacron optimize TARGET",
    ),
    Route(
        path="/api/v1/predict/batch",
        model="",
        entity="entity_id",
        summary="Ask any served model for many rows in one call: `model`, `version`, `rows`",
    ),
)
BY_PATH: Final = {route.path: route for route in ROUTES}

_LONGEST_S: Final = 1e9
_WHOLE: Final = (OverloadedError, NotReadyError, DeadlineExceededError, ModelNotFoundError)
"""Refusals that concern every row alike."""


class _Asked:
    """A codec whose request is there already and whose answer is kept, not written."""

    def __init__(self, request: InferRequest) -> None:
        self._request = request
        self.answer: InferAnswer | None = None

    def decode(self, _body: bytes, /) -> InferRequest:
        return self._request

    def encode(self, answer: InferAnswer) -> bytes:
        self.answer = answer
        return b""


class DomainRoutes:
    """Answers the typed routes.

    Args:
        plane: The handlers below.
        now: The time that records carry.
        new_id: Makes the id of a record where no log gives it one.
        histories: Completes rows that bring no history.
    """

    def __init__(
        self,
        plane: DataPlane,
        *,
        histories: Histories | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        new_id: Callable[[], str] = lambda: uuid.uuid4().hex,
    ) -> None:
        self._plane = plane
        self._histories = histories
        self._now = now
        self._new_id = new_id

    async def answer(
        self, route: Route, body: bytes, timeout_s: float | None = None
    ) -> tuple[dict[str, Any], Timing]:
        """Answer one request: its record, or `{"count", "failed", "records"}` of its rows.

        Raises:
            InvalidInputError: The body is no such request, or no row of it could be answered.
            ModelNotFoundError: The model is not served here.
            OverloadedError: Its queue is full.
            NotReadyError: It is loading.
            DeadlineExceededError: The time was over.
            NovacronError: The model failed for every row.
        """
        document = parse_json(body)
        if not isinstance(document, dict):
            raise unexpected("body", document, "a JSON object")
        return await self.answer_document(route, document, timeout_s)

    async def answer_document(
        self, route: Route, document: Mapping[str, Any], timeout_s: float | None = None
    ) -> tuple[dict[str, Any], Timing]:
        """Answer one request that is parsed already; see `answer`."""
        began_s = self._plane.now_s()
        fields = dict(document)
        name, version = _name_of(route, fields)
        served = self._find(route, name, version)
        limit = self._plane.limits.max_request_rows
        rows = split_rows(fields, entity=route.entity, limit=limit)
        work = _Work(self._plane, served, version, timeout_s)
        rows = await self._complete(served, rows, work)
        decoded_s = self._plane.now_s() - began_s
        await work.ask(rows)
        answered_s = self._plane.now_s()
        records = [self._record(route, served, row, work) for row in rows]
        failed = sum(row.place in work.errors for row in rows)
        if failed == len(rows):
            raise work.errors[rows[0].place]
        timing = Timing(
            decode_s=decoded_s + work.decode_s,
            queue_s=work.queue_s,
            predict_s=work.predict_s,
            encode_s=self._plane.now_s() - answered_s,
        )
        if "rows" not in document:
            return records[0], timing
        return {"count": len(records), "failed": failed, "records": records}, timing

    async def _complete(self, served: ServedModel, rows: list[Row], work: "_Work") -> list[Row]:
        """Give rows that bring no history the one that is kept here, if one is."""
        if self._histories is None:
            return rows
        inputs = frozenset(spec.name for spec in served.model.inputs)
        completed = []
        for row in rows:
            found = None
            try:
                found = await self._histories.complete(inputs, row)
            except (NotFoundError, InvalidInputError) as error:
                work.errors[row.place] = error
            if found is not None:
                work.told[row.place] = found.told
            completed.append(row if found is None else found.row)
        return completed

    def _find(self, route: Route, name: str, version: str | None) -> ServedModel:
        if route.model and name not in self._plane.host.names:
            raise ModelNotFoundError(
                f"{route.path} needs a model named {name!r}, which is not served here.",
                remedy=f"Train it ({route.train}), promote it (novacron promote {name}) and list "
                "it under `models` of the settings.",
            )
        return self._plane.host.get(name, version)

    def _record(
        self, route: Route, served: ServedModel, row: Row, work: "_Work"
    ) -> dict[str, Any]:
        named = {} if row.entity is None else {route.entity: row.entity}
        error = work.errors.get(row.place)
        if error is not None:
            return named | {"row": row.place} | error.to_dict()
        if work.versions[row.place] != served.version:
            served = self._served_as(served.name, work.versions[row.place])
        record = named | build_record(
            served,
            work.versions[row.place],
            work.values[row.place],
            work.options.get(row.place, {}),
            prediction_id=work.ids.get(row.place) or self._new_id(),
            made_at=self._now(),
        )
        return record | ({"history": work.told[row.place]} if row.place in work.told else {})

    def _served_as(self, name: str, version: str) -> ServedModel:
        """Find the version that answered: one being tried, or promoted in between."""
        try:
            return self._plane.host.get(name, version)
        except ModelNotFoundError:
            # It has answered and left since.
            return self._plane.host.get(name)


def _named(error: Exception) -> NovacronError:
    """Give an error that is not ours a sentence; a model may raise anything."""
    if isinstance(error, NovacronError):
        return error
    logger.error("a row failed", exc_info=error)
    return NovacronError("The model failed for this row.", remedy="Look into the replica's log.")


def _name_of(route: Route, fields: dict[str, Any]) -> tuple[str, str | None]:
    if route.model:
        return route.model, None
    name, version = fields.pop("model", None), fields.pop("version", None)
    if not isinstance(name, str):
        raise unexpected("model", name, "the name of a served model")
    if version is not None and not isinstance(version, str):
        raise unexpected("version", version, "the number of a version, as a string")
    return name, version


class _Work:
    """The rows of one request on their way through the data plane."""

    def __init__(
        self,
        plane: DataPlane,
        served: ServedModel,
        version: str | None,
        timeout_s: float | None,
    ) -> None:
        self._plane = plane
        self._served = served
        self._version = version
        self._timeout_s = timeout_s
        self._specs = served.model.inputs
        self.values: dict[int, dict[str, Any]] = {}
        self.versions: dict[int, str] = {}
        self.options: dict[int, dict[str, Any]] = {}
        self.errors: dict[int, NovacronError] = {}
        self.ids: dict[int, str] = {}
        """Ids under which the prediction log keeps the rows, where there is one."""
        self.told: dict[int, Mapping[str, Any]] = {}
        """What is said of histories that were kept here."""
        self.decode_s = self.queue_s = self.predict_s = 0.0

    async def ask(self, rows: Sequence[Row]) -> None:
        """Ask for all rows, those of one shape and one version together."""
        groups: dict[tuple[Shapes, str], list[Row]] = {}
        for row in rows:
            if row.place in self.errors:
                continue
            try:
                own = self._take_options(row)
                shapes = shapes_of(own.fields, self._specs)
                groups.setdefault((shapes, self._version_for(row)), []).append(own)
            except InvalidInputError as error:
                self.errors[row.place] = error
        await asyncio.gather(
            *(self._ask_group(shapes, own) for (shapes, _), own in groups.items())
        )

    def _version_for(self, row: Row) -> str:
        """Tell the version that an entity stays with; empty for a row about nothing in particular."""
        if not row.entity or self._version is not None:
            return ""
        return self._plane.choose(self._served.name, None, row.entity).served.version

    def _take_options(self, row: Row) -> Row:
        """Part what the route reads itself from what the model reads."""
        shape = SHAPES.get(self._served.model.kind)
        names = {spec.name for spec in self._specs}
        options: dict[str, Any] = {}
        fields = dict(row.fields) if shape is None else shape.read(row.fields)
        if "target" in names and isinstance(fields.get("target"), str):
            options["target"] = fields["target"]
        for name in shape.options if shape else ():
            if name in fields and name not in names:
                given = fields.pop(name)
                if not is_number(given) or not 0 < given < _LONGEST_S:
                    raise unexpected(name, given, "a number of seconds above 0")
                options[name] = float(given)
        step_s = fields.get("step_s")
        if is_number(step_s) and 0 < step_s < _LONGEST_S:
            options["step_s"] = float(step_s)
        kept_step_s = self.told.get(row.place, {}).get("step_s")
        if kept_step_s is not None:
            options.setdefault("step_s", kept_step_s)
        self.options[row.place] = options
        return Row(place=row.place, entity=row.entity, fields=fields)

    async def _ask_group(self, shapes: Shapes, rows: Sequence[Row]) -> None:
        try:
            asked = _Asked(self._join(shapes, rows))
            reply = await self._plane.infer(
                self._served.name,
                self._version,
                b"",
                asked,
                timeout_s=self._timeout_s,
                key=rows[0].entity,
            )
        except _WHOLE:
            raise
        except Exception as error:  # noqa: BLE001  a model may raise anything
            if len(rows) == 1:
                self.errors[rows[0].place] = _named(error)
                return
            # One of them is at fault: each is asked alone, so that the others get their answer.
            await asyncio.gather(*(self._ask_group(shapes, [row]) for row in rows))
            return
        if asked.answer is None:
            raise NovacronError("The data plane wrote no answer.")
        self.decode_s += reply.timing.decode_s
        self.queue_s = max(self.queue_s, reply.timing.queue_s)
        self.predict_s = max(self.predict_s, reply.timing.predict_s)
        for place, row in enumerate(rows):
            self.versions[row.place] = asked.answer.model_version
            self.values[row.place] = values_of(asked.answer.tensors, place)
            if asked.answer.prediction_id:
                self.ids[row.place] = row_id(asked.answer.prediction_id, place, len(rows))

    def _join(self, shapes: Shapes, rows: Sequence[Row]) -> InferRequest:
        request = join_rows([row.fields for row in rows], shapes, self._specs)
        return replace(
            request,
            entities=tuple(row.entity for row in rows),
            steps_s=tuple(self.options[row.place].get("step_s") for row in rows),
        )
