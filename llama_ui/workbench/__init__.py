"""What one does with a conversation besides chatting: code, export, links, comparison."""
