"""Tests of hooks without Redis and without sockets."""
