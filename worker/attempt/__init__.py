"""One attempt of a turn, from its claim to the write that ends it. What is here lives as long as that attempt."""
