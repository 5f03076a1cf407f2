"""A product is in a folder of its own. dev.py finds its module in the folder where the command was given."""

import os
import sys

import dev


def test_the_product_is_found_where_dev_py_was_called(tmp_path, monkeypatch):
    started = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TURNWIRE_HOOKS", "shop:hooks")
    monkeypatch.setenv("PYTHONPATH", "elsewhere")
    monkeypatch.setattr(dev, "has_dependencies", lambda: True)
    monkeypatch.setattr(os, "execv", lambda path, argv: started.append((path, argv, os.getcwd())))
    dev.main(["run", "--quiet"])
    assert started == [(sys.executable, [sys.executable, "-m", "stack", "run", "--quiet"], dev.ROOT)]
    assert os.environ["PYTHONPATH"].split(os.pathsep) == [str(tmp_path), "elsewhere"]


def test_without_a_product_nothing_is_added(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TURNWIRE_HOOKS", raising=False)
    monkeypatch.setenv("PYTHONPATH", "elsewhere")
    monkeypatch.setattr(dev, "has_dependencies", lambda: True)
    monkeypatch.setattr(os, "execv", lambda path, argv: None)
    dev.main(["lint"])
    assert os.environ["PYTHONPATH"] == "elsewhere"
