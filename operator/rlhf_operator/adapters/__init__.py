"""The outside world, one system a file; each translates its library's errors to ours."""
