"""What it takes to have texts written by an LLM: recipes, prompts, calls, replies, money."""
