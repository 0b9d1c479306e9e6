"""The Auto MPG table that ships with revgn: of 392 cars 7 numbers each, and their miles per gallon.

Source: R. Quinlan, "Auto MPG", UCI Machine Learning Repository, 1993, https://doi.org/10.24432/C5859H;
licence: Creative Commons Attribution 4.0 (CC BY 4.0).

Changed against the source: without the names of the cars and the six cars whose horsepower is missing, as
comma-separated values.
"""
