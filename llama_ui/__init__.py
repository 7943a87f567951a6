"""A chat UI for every Llama Stack (OGX) server."""
