"""Classifiers and moderation services: how they are asked, understood, and left alone when ill."""
