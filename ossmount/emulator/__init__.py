"""An OSS server over a local folder, for tests, the demo and development."""
