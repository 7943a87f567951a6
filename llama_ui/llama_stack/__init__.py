"""The connection to a Llama Stack server of any generation."""
