"""data/audit/data.html: the images before anything is trained on them, on one page.

Pixels are read of the few images that are shown; everything else comes from the table of images.
"""
