"""Lists the operations for operators with their descriptions. They are a part of the table in routes.py."""

from typing import Final

from turnwire.api.access.identity import Scope
from turnwire.api.endpoints.all_turns import FoundTurns, find_turns, get_story
from turnwire.api.endpoints.audit import AuditList, list_audit
from turnwire.api.endpoints.cancel import CancelBody
from turnwire.api.endpoints.deeds import (
    DrainingWorker,
    KilledWorker,
    NoBody,
    cancel_any_turn,
    drain_worker,
    kill_worker,
    requeue_turn,
)
from turnwire.api.endpoints.operation import Answer, Operation
from turnwire.api.endpoints.pausing import Pause, pause_project, pause_tenant, resume_project, resume_tenant
from turnwire.api.endpoints.pending import PendingList, list_callbacks, list_pending
from turnwire.api.endpoints.queue import QueueAnswer, get_queue
from turnwire.api.endpoints.usage import UsageList, list_usage
from turnwire.api.endpoints.workers import LeaseList, list_leases, list_workers
from turnwire.shared.model import TurnRecord
from turnwire.shared.store.turn_rows import TurnRow
from turnwire.shared.store.turn_story import Story
from turnwire.shared.store.worker_view import WorkersView

_PAUSE_PROBLEMS = (400, 403, 413, 415, 422, 503)

OF_OPERATORS: Final = (
    Operation(
        path="/v1/admin/workers", method="GET", head=True, handler=list_workers, scope=Scope.ADMIN,
        summary="For operators: the workers, and which turns each one runs",
        answers=(Answer(200, "The workers, by id", WorkersView),),
        problems=(406, 503),
    ),
    Operation(
        path="/v1/admin/leases", method="GET", head=True, handler=list_leases, scope=Scope.ADMIN,
        summary="For operators: the leases of all workers, and how long each still lasts",
        parameters=("afterPlace", "limitOfMany"),
        answers=(Answer(200, "One page of the list", LeaseList),),
        problems=(400, 406, 503),
    ),
    Operation(
        path="/v1/admin/turns", method="GET", head=True, handler=find_turns, scope=Scope.ADMIN,
        summary="For operators: turns of all tenants, newest first; what each waits for, or what it cost",
        parameters=(
            "state", "ofTenant", "ofSession", "ofProject", "ofWorker", "search", "olderThan", "afterPlace",
            "limitOfTurns",
        ),
        answers=(Answer(200, "One page of the list", FoundTurns),),
        problems=(400, 406, 503),
    ),
    Operation(
        path="/v1/admin/turns/{run_id}", method="GET", head=True, handler=get_story, scope=Scope.ADMIN,
        summary="For operators: a turn's record, lease, job, steps, attempts, signals and log",
        parameters=("runId",),
        answers=(Answer(200, "The turn", Story),),
        problems=(400, 404, 406, 409, 503),
    ),
    Operation(
        path="/v1/admin/turns/{run_id}/requeue", method="POST", handler=requeue_turn, scope=Scope.ADMIN,
        summary="For operators: make sure that a worker looks at an open turn soon",
        parameters=("runId",),
        body=NoBody,
        answers=(Answer(202, "The turn has a job; the turn as it is now", TurnRow),),
        problems=(400, 403, 404, 409, 413, 415, 422, 503),
    ),
    Operation(
        path="/v1/admin/turns/{run_id}/cancel", method="POST", handler=cancel_any_turn, scope=Scope.ADMIN,
        summary="For operators: cancel a turn of any tenant",
        parameters=("runId",),
        body=CancelBody,
        answers=(
            Answer(200, "The turn had ended already; its record", TurnRecord),
            Answer(202, "The turn is cancelled, or its worker was told to stop; its record as it is now", TurnRecord),
        ),
        problems=(400, 403, 404, 409, 413, 415, 422, 503),
    ),
    Operation(
        path="/v1/admin/workers/{worker}/drain", method="POST", handler=drain_worker, scope=Scope.ADMIN,
        summary="For operators: let a worker take no more turns, finish those that it runs, and exit",
        parameters=("worker",),
        body=NoBody,
        answers=(Answer(202, "The worker is asked", DrainingWorker),),
        problems=(400, 403, 404, 413, 415, 422, 503),
    ),
    Operation(
        path="/v1/admin/workers/{worker}/kill", method="POST", handler=kill_worker, scope=Scope.ADMIN,
        summary="For developers: kill a worker on this host, to see what becomes of its turns",
        parameters=("worker",),
        body=NoBody,
        answers=(Answer(202, "Its process is killed", KilledWorker),),
        problems=(400, 403, 404, 413, 415, 422, 503),
    ),
    Operation(
        path="/v1/admin/tenants/{tenant}/pause", method="POST", handler=pause_tenant, scope=Scope.ADMIN,
        summary="For operators: let no turn of a tenant start; those that run go on",
        parameters=("namedTenant",),
        body=NoBody,
        answers=(Answer(200, "It is paused", Pause),),
        problems=_PAUSE_PROBLEMS,
    ),
    Operation(
        path="/v1/admin/tenants/{tenant}/resume", method="POST", handler=resume_tenant, scope=Scope.ADMIN,
        summary="For operators: let the turns of a tenant start again, in the order in which they were asked",
        parameters=("namedTenant",),
        body=NoBody,
        answers=(Answer(200, "It is not paused", Pause),),
        problems=_PAUSE_PROBLEMS,
    ),
    Operation(
        path="/v1/admin/projects/{project}/pause", method="POST", handler=pause_project, scope=Scope.ADMIN,
        summary="For operators: let no turn of a project start; those that run go on",
        parameters=("namedProject",),
        body=NoBody,
        answers=(Answer(200, "It is paused", Pause),),
        problems=_PAUSE_PROBLEMS,
    ),
    Operation(
        path="/v1/admin/projects/{project}/resume", method="POST", handler=resume_project, scope=Scope.ADMIN,
        summary="For operators: let the turns of a project start again, in the order in which they were asked",
        parameters=("namedProject",),
        body=NoBody,
        answers=(Answer(200, "It is not paused", Pause),),
        problems=_PAUSE_PROBLEMS,
    ),
    Operation(
        path="/v1/admin/usage", method="GET", head=True, handler=list_usage, scope=Scope.ADMIN,
        summary="For operators: what each tenant has used and what that cost, by name",
        parameters=("ofTenant", "afterName", "limitOfMany"),
        answers=(Answer(200, "One page of the list", UsageList),),
        problems=(400, 406, 503),
    ),
    Operation(
        path="/v1/admin/persist", method="GET", head=True, handler=list_pending, scope=Scope.ADMIN,
        summary="For operators: turns whose answer the product has not stored yet, oldest first",
        parameters=("afterPage", "limit"),
        answers=(Answer(200, "One page of the list", PendingList),),
        problems=(400, 406, 503),
    ),
    Operation(
        path="/v1/admin/callbacks", method="GET", head=True, handler=list_callbacks, scope=Scope.ADMIN,
        summary="For operators: turns whose callback was not made yet, oldest first",
        parameters=("afterPage", "limit"),
        answers=(Answer(200, "One page of the list", PendingList),),
        problems=(400, 406, 503),
    ),
    Operation(
        path="/v1/admin/audit", method="GET", head=True, handler=list_audit, scope=Scope.ADMIN,
        summary="For operators: who asked for erasures, cancels, signals, tokens and deeds of operators, oldest first",
        parameters=("afterEntry", "limit"),
        answers=(Answer(200, "One page of the list", AuditList),),
        problems=(400, 406, 503),
    ),
    Operation(
        path="/v1/admin/queue", method="GET", head=True, handler=get_queue, scope=Scope.ADMIN,
        summary="For operators: how many jobs and turns there are, and which turns wait for a worker that can run them",
        answers=(Answer(200, "The queue", QueueAnswer),),
        problems=(406, 503),
    ),
)  # fmt: skip
