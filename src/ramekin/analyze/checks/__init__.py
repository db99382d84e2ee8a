"""Findings about images: what is wasted, what will not work, what is risky and what defeats sharing.

`table` has all rules, each with its code, why it matters and what to do. The modules beside it find things,
one room of subjects each; `judge` runs them, and `sarif` writes what they found for other tools.
"""
