"""Which tokens a revocation means."""

import pytest

from turnwire.api.access.identity import Identity, Scope
from turnwire.api.access.revoked import MARGIN_S, Kind, Revocation, Revoked
from turnwire.api.access.verified import Verified

AT_S = 1000.0
OLD, NEW = AT_S - 10, AT_S + MARGIN_S


def token(issued_s: float = OLD, tenant: str = "acme", token_id: str | None = "t1") -> Verified:
    identity = Identity(tenant, frozenset({Scope.READ}), "backend", user="ada")
    return Verified(identity, 9e9, by_provider=False, id=token_id, issued_s=issued_s)


def revoked(kind: Kind, name: str) -> Revoked:
    known = Revoked()
    known.learn({Revocation("acme", kind, name).field: AT_S})
    return known


@pytest.mark.parametrize(("kind", "name"), [("id", "t1"), ("user", "ada"), ("key", "backend")])
def test_a_token_is_revoked_by_its_id_its_user_and_its_maker(kind: Kind, name: str):
    known = revoked(kind, name)
    assert known.includes(token())
    assert not known.includes(token(tenant="other"))
    assert not revoked(kind, "another").includes(token())
    assert known.includes(token(NEW)) is (kind == "id"), "a newer token of the same user is another one"


def test_a_token_without_an_id_has_no_revoked_one():
    assert not revoked("id", "None").includes(token(token_id=None))


def test_a_user_is_not_named():
    assert "ada" not in Revocation("acme", "user", "ada").field


def test_only_news_are_another_generation():
    known = revoked("id", "t1")
    before = known.generation
    known.learn({Revocation("acme", "id", "t1").field: AT_S})
    assert known.generation is before
    known.learn({})
    assert known.generation is not before
