"""A language model as a specialist: a tool-using session over a private copy of the recipe.

``plan`` is what launch needs (no client is imported); ``proposer`` runs sessions in the workers.
"""
