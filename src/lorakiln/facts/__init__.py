"""What the stages' facts hold, by name and type: dataset.json, index.json, and facts.json of a run and of a LoRA.

A stage writes what it makes true, and the stages after it read it here and nowhere else. What a file of an earlier
version does not say is None; what this version does not know is kept as it is.
"""
