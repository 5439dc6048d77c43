"""Recipes as data: what a YAML file may say, and how a row becomes a prompt and replies become rows."""
