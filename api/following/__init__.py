"""Who follows which turn, and from which cursor. What is here lives as long as one reader and knows no HTTP."""
