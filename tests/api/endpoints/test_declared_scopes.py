"""Every route declares who may use it."""

from starlette.routing import Route

from turnwire.api.access.identity import Scope
from turnwire.api.app import create_app
from turnwire.api.endpoints.operation import Operation
from turnwire.api.endpoints.page import page_handlers
from turnwire.api.endpoints.pages import public_pages
from turnwire.api.endpoints.routes import OPERATIONS
from turnwire.shared.settings import Settings

PUBLIC = {"/healthz", "/readyz", "/openapi.json", "/docs", "/", "/page/{file}"}


def test_every_route_is_an_operation_or_a_page_for_everybody():
    app = create_app(Settings())
    declared = (
        {operation.path for operation in OPERATIONS} | set(public_pages(Settings())) | set(page_handlers(Settings()))
    )
    assert {route.path.replace(":path", "") for route in app.routes if isinstance(route, Route)} == declared
    assert all(isinstance(route, Route) for route in app.routes)


def test_an_operation_cannot_be_written_without_its_scope():
    assert "scope" in Operation.__struct_fields__
    assert Operation.__struct_defaults__.count(Scope.PUBLIC) == 0
    assert all(isinstance(operation.scope, Scope) for operation in OPERATIONS)


def test_few_paths_need_no_credentials():
    open_paths = {operation.path for operation in OPERATIONS if operation.scope is Scope.PUBLIC}
    assert open_paths | set(public_pages(Settings())) | set(page_handlers(Settings())) == PUBLIC


def test_what_changes_a_turn_needs_turns_and_what_operators_see_needs_admin():
    for operation in OPERATIONS:
        if operation.path.startswith("/v1/admin/"):
            assert operation.scope is Scope.ADMIN
        elif operation.method != "GET":
            assert operation.scope in {Scope.TURNS, Scope.TOKENS}
