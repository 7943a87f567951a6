"""A local Llama Stack: an OGX server in front of a small model, in one child process."""
