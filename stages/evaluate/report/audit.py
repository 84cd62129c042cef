"""What the kinds of finding mean."""

from collections.abc import Mapping

from schemas.audit.finding import ClassKind, ImageKind

MEANINGS: Mapping[ImageKind | ClassKind, str] = {
    "conflicting_labels": "Copies or look-alikes that stand in different classes: one label must be wrong",
    "blank": "Images of one colour, or nearly",
    "extreme_size": "Images with a very short or a very long side",
    "extreme_shape": "Images much longer than wide, or the reverse",
    "copies": "Files that are the same as another, byte for byte",
    "near_duplicates": "Images that look like another",
    "tiny_class": "Classes with very few images",
    "imbalance": "A largest class many times the size of the smallest",
}
