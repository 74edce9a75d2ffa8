"""The kubectl plugin `kubectl rlhf`: shows, explains, checks, simulates, and speaks for people.

Reading and writing (`cluster`) stand apart from what is shown: every view is a function from a
`state.State` to a frozen value, and one from that value to text. Knows the API and the rules.
"""
