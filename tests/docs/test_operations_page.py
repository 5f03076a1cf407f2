"""The page for operators names alerts and files that exist."""

import re

import yaml

from stack.cluster import ROOT

PAGE = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")


def test_it_lists_the_alerts_that_call_somebody_at_night():
    rules = yaml.safe_load((ROOT / "deploy" / "prometheus" / "turnwire.rules.yml").read_text(encoding="utf-8"))
    alerts = [rule for group in rules["groups"] for rule in group["rules"]]
    paging = {rule["alert"] for rule in alerts if rule["labels"]["severity"] == "page"}
    assert set(re.findall(r"`(Turnwire[A-Z]\w+)`", PAGE)) == paging


def test_the_files_that_it_names_are_there():
    named = set(re.findall(r"`((?:deploy|tests)/[\w./]+)`", PAGE))
    assert len(named) > 1
    assert [name for name in named if not (ROOT / name).exists()] == []
