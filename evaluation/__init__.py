"""What samples say about models: shares and means with intervals, paired differences, seeds of a recipe.

Facts about samples go in (facts.py), tables come out (tables.py). Arrays only: no model, nothing is run.
"""
