"""The handlers of the API, in one module for each resource. The objects here live as long as one request."""
