"""Settings of the endpoint by part; `serve_apps.config` puts them together."""
