"""What holds for all tests."""

from hypothesis import settings

# How long an example takes is measured in benchmarks; a busy machine breaks no property.
settings.register_profile("house", deadline=None)
settings.load_profile("house")
