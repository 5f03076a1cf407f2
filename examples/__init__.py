"""Products in one small file each: hooks to read, run and copy. tests/examples runs every one of them."""
