"""The parts of the benchmarks: a load client, a product, other systems, readings of /proc, tables."""
