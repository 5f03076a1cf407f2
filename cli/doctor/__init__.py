"""`turnwire doctor`: looks for what would lose turns or make them slow, and says how to mend it.

Every check returns findings and changes nothing of a turn. What is known of a server is read once (`Server`), so most
checks are pure functions of it.
"""
