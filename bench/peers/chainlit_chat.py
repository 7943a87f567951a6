"""A chat in Chainlit, as in its documentation."""

import os

import chainlit as cl
from openai import AsyncOpenAI

client = AsyncOpenAI(base_url=f"{os.environ['BENCH_SERVER']}/v1", api_key="none")


@cl.on_message
async def reply(_: cl.Message) -> None:
    answer = cl.Message(content="")
    stream = await client.chat.completions.create(model="bench", messages=cl.chat_context.to_openai(), stream=True)
    async for chunk in stream:
        if chunk.choices and (word := chunk.choices[0].delta.content):
            await answer.stream_token(word)
    await answer.update()
