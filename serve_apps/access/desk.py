"""The front desk of both skins: a caller is let in by the guard, and what became of it is noted."""

from dataclasses import dataclass
from typing import Final

from serve_apps.access.audit import AuditLog, Entry
from serve_apps.access.callers import Caller
from serve_apps.access.guard import Guard
from serve_apps.settings.access import AuditConfig, Role

_REFUSED: Final = frozenset({401, 403, 413, 429})


@dataclass(slots=True)
class Visit:
    """One request, as the audit log sees it; the skin fills in what it finds out."""

    address: str
    action: str
    caller: Caller | None = None
    model: str = ""
    version: str = ""
    request_id: str = ""
    changes: bool = False
    """Whether it changes what answers; such a request is always noted."""


class Desk:
    """Guard and audit log.

    Args:
        guard: Who may ask; by default everybody on this machine.
        audit: Where it is written; by default nowhere.
    """

    def __init__(self, guard: Guard | None = None, audit: AuditLog | None = None) -> None:
        self.guard = guard or Guard()
        self.audit = audit or AuditLog(AuditConfig())

    def admit(self, visit: Visit, authorization: str | None, *, role: Role = "predict") -> None:
        """Let a visit in; raises as `Guard.admit`."""
        visit.caller = self.guard.admit(authorization, visit.address, role=role)

    def check_size(self, visit: Visit, n_bytes: int) -> None:
        """Refuse a body larger than this caller may send; raises as `Guard.check_size`."""
        if visit.caller is not None:
            self.guard.check_size(visit.caller, n_bytes)

    def note(self, visit: Visit, status: int, reason: str = "") -> None:
        """Write down how a visit ended, if such are written down.

        Args:
            visit: Which.
            status: As HTTP says it.
            reason: The error's name, or empty.
        """
        if status in _REFUSED:
            decision = "refused"
        elif visit.changes:
            decision = "failed" if reason else "changed"
        elif self.audit.wants_predictions and visit.caller is not None:
            decision = "failed" if reason else "answered"
        else:
            return
        self.audit.write(
            Entry(
                caller=visit.caller.name if visit.caller else "",
                address=visit.address,
                action=visit.action,
                model=visit.model,
                version=visit.version,
                request_id=visit.request_id,
                status=status,
                decision=decision,
                reason=reason,
            )
        )
