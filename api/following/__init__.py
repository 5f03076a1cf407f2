"""Who follows which turn, from which cursor. The objects here live as long as one reader and know no HTTP."""
