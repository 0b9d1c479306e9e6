"""The 8x8 digits that ship with revgn: 1797 images of handwritten digits, pixels 0..16.

Source: E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning
Repository, 1998, https://doi.org/10.24432/C50P49; licence: Creative Commons Attribution 4.0 (CC BY 4.0).

Changes from the source: only its test set of 1797 images is used. They were shuffled once, split into 1437
training and 360 test images (36 of each digit), and stored as gzipped IDX files under MNIST's names.
"""
