"""One module for each resource. The objects here live as long as one request."""
