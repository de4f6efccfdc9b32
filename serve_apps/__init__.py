"""The one endpoint: transports and batching around the models of the registry."""
