"""The work of the worker process itself: taking jobs, heartbeat, takeover, sweep. It lives as long as the process."""
