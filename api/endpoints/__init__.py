"""One module for each resource. What is here lives as long as one request."""
