"""Everything under `/api/v1`, the OpenAPI document and the docs page, free of HTTP."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import orjson

from serve_apps.dataplane import DataPlane
from serve_apps.domain import feedback, page, process
from serve_apps.domain.completion import Histories
from serve_apps.domain.extension import Extension
from serve_apps.domain.feedback import VerdictLog, describe_effect, read_verdict
from serve_apps.domain.openapi import build_document
from serve_apps.domain.process import ProcessAdapter
from serve_apps.domain.routes import BY_PATH, DomainRoutes
from serve_apps.oip import parse_json
from serve_apps.settings.access import Role

OPENAPI_PATH: Final = "/openapi.json"
DOCS_PATH: Final = "/docs"


@dataclass(frozen=True, kw_only=True, slots=True)
class Page:
    """What a path answers: body, type, status, and where the time went, if it is told."""

    body: bytes
    content_type: str = "application/json"
    status: int = 200
    timing: str = ""


class Site:
    """The paths and who answers them.

    Args:
        plane: The handlers below.
        feedback_dir: Where operators' verdicts are kept.
        routes: The typed routes; made over the plane where not given.
        histories: Completes rows that bring none, in the routes that are made here.
        extensions: Further paths.
    """

    def __init__(
        self,
        plane: DataPlane,
        feedback_dir: Path,
        routes: DomainRoutes | None = None,
        *,
        histories: Histories | None = None,
        extensions: Sequence[Extension] = (),
    ) -> None:
        self._plane = plane
        self.routes = routes or DomainRoutes(plane, histories=histories)
        self._extensions = {path: one for one in extensions for path in one.operations}
        self._process = ProcessAdapter(plane, self.routes)
        self._verdicts = VerdictLog(feedback_dir)

    def methods(self, path: str) -> tuple[str, ...]:
        """Return the HTTP methods that a path takes; none where it is not of this site."""
        if path in (OPENAPI_PATH, DOCS_PATH):
            return ("GET", "HEAD")
        if path in BY_PATH or path in (feedback.PATH, process.PATH):
            return ("POST",)
        if path in self._extensions:
            return self._extensions[path].operations[path].methods
        return ()

    def health(self) -> dict[str, str]:
        """Return what readiness says of the further paths."""
        told: dict[str, str] = {}
        for one in self._extensions.values():
            told |= one.health()
        return told

    def changes(self, path: str) -> bool:
        """Tell whether asking a path changes later answers."""
        return path == feedback.PATH or self.role(path) == "admin"

    def role(self, path: str) -> Role:
        """Return what a caller of a path must be allowed."""
        one = self._extensions.get(path)
        return "predict" if one is None else one.operations[path].role

    def read(self, path: str) -> Page:
        """Answer a path that is read."""
        if path in self._extensions:
            return Page(body=orjson.dumps(self._extensions[path].read(path)))
        more = {path: one.operations[path] for path, one in self._extensions.items()}
        document = build_document(self._plane, more)
        if path == DOCS_PATH:
            return Page(body=page.render(document), content_type="text/html; charset=utf-8")
        return Page(body=orjson.dumps(document))

    async def ask(
        self, path: str, body: bytes, *, timeout_s: float | None, new_id: Callable[[], str]
    ) -> Page:
        """Answer a path that is asked; raises the errors of `DomainRoutes.answer`."""
        if path == process.PATH:
            status, answer = await self._process.answer(body)
            return Page(body=answer, status=status)
        if path == feedback.PATH:
            return self._take_verdict(body, new_id)
        if path in self._extensions:
            return Page(body=orjson.dumps(await self._extensions[path].ask(path, body, new_id)))
        answered, timing = await self.routes.answer(BY_PATH[path], body, timeout_s)
        return Page(body=orjson.dumps(answered), timing=timing.to_header())

    def refresh(self) -> None:
        """Apply verdicts that other replicas took."""
        host = self._plane.host
        if feedback.MODEL in host.names and host.versions(feedback.MODEL):
            self._verdicts.apply(host.get(feedback.MODEL))

    def _take_verdict(self, body: bytes, new_id: Callable[[], str]) -> Page:
        verdict = read_verdict(parse_json(body))
        served = self._plane.host.get(feedback.MODEL)
        kept = verdict | {
            "feedback_id": verdict["alert_id"] or new_id(),
            "model_version": served.version,
        }
        self._verdicts.append(kept)
        self._verdicts.apply(served)
        return Page(body=orjson.dumps(kept | describe_effect(served)))
