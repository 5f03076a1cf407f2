"""One attempt of a turn, from its claim to the write that ends it. The objects here live as long as the attempt."""
