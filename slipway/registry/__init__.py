"""Image registries: which bytes a tag names now, asked over the HTTP API of the OCI distribution specification."""
