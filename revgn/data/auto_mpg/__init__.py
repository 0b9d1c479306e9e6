"""The Auto MPG table that ships with revgn: seven attributes and the miles per gallon of 392 cars.

Source: R. Quinlan, "Auto MPG", UCI Machine Learning Repository, 1993, https://doi.org/10.24432/C5859H;
licence: Creative Commons Attribution 4.0 (CC BY 4.0).

Changes from the source: the names of the cars and the six cars without horsepower are removed, and the values
are separated by commas.
"""
