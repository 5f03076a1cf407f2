"""The worker process: it takes jobs, sends heartbeats, takes over from dead workers and sweeps."""
