"""What the benchmarks are built of: a load client, a product, other systems, /proc, tables."""
