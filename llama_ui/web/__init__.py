"""The Gradio page. The only package that imports Gradio."""
