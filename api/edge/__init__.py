"""HTTP: requests come in and bytes go out. The objects here live as long as one connection and know no turn."""
