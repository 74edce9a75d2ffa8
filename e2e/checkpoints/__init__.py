"""Three small language models, trained here in seconds, for the demo and the end-to-end tests."""
