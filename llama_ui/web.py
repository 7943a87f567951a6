"""The chat page: layout and wiring."""

import gradio as gr
