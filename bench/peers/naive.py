"""A simple `gr.ChatInterface`: a plain client, and a generator with an update for each word."""

import json
import os
from collections.abc import Iterator
from typing import Any

import gradio as gr
import httpx


def reply(message: str, history: list[dict[str, Any]]) -> Iterator[str]:
    messages = [{"role": item["role"], "content": item["content"][0]["text"]} for item in history]
    body = {"model": "bench", "messages": [*messages, {"role": "user", "content": message}], "stream": True}
    text = ""
    with httpx.stream("POST", f"{os.environ['BENCH_SERVER']}/v1/chat/completions", json=body, timeout=None) as response:
        for line in response.iter_lines():
            if line.startswith("data: {"):
                for choice in json.loads(line[6:])["choices"]:
                    text += choice["delta"].get("content", "")
                    yield text


gr.ChatInterface(reply).launch()
