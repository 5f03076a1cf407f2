"""Who may do what: credentials in, an `Identity` out. It knows no HTTP, no turn and no Redis."""
