"""HTTP requests come in here and bytes go out. What is here lives as long as one connection and knows no turn."""
