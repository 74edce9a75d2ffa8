"""The main job, live: a good version is promoted, and a bad one is rolled back."""
