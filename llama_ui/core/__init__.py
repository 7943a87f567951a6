"""What a chat is: messages, events, replies and errors. No Gradio, no SDK, no terminal."""
