"""Programs that measure the service as its users meet it. docs/benchmarks.md says how to run and read them."""
