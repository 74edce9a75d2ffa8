"""One module for each thing that is asked: the exact shapes of requests and answers. Pure.

An answer that is not exactly understood is no answer: BadAnswer, never an allow.
"""
