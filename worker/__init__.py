"""The worker process. It runs turns: claim, load, produce, append, settle. It imports `shared`, never `api`."""
