"""A chat with `gr.load_chat`, without its limit of one reply at a time."""

import os

import gradio as gr

chat = gr.load_chat(f"{os.environ['BENCH_SERVER']}/v1", model="bench", token="none")
for function in chat.fns.values():
    function.concurrency_limit = None
chat.launch(max_threads=500)
