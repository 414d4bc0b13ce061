"""The decision logic of each stage, mostly pure functions, and the embedding pipeline.

No module in this package uses files, the database, the network or torch.
"""
