"""One module a runtime: how a transformer is exported to it, and how it is run there."""
