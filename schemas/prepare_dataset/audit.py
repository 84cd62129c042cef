"""The `audit` section: what is looked for in the images, and what follows."""

from typing import Annotated, Literal

from pydantic import Field

from schemas.shared.fields import Count, NonNegative, Positive, PositiveCount, Schema

Policy = Literal["ignore", "warn", "exclude", "error"]
AtLeastOne = Annotated[float, Field(ge=1)]


class Audit(Schema):
    """A policy for each kind of finding, beside what makes one.

    ignore counts only; warn also prints and lists it in data/audit; exclude also leaves the image out; error
    stops the run.
    """

    copies: Policy
    """Files of the same bytes; exclude keeps one of them."""

    near_duplicates: Policy
    """Images that look alike, by split.near_duplicate_bits; exclude keeps one of them."""

    conflicting_labels: Policy
    """Copies and near duplicates in different classes; exclude leaves out all of them."""

    blank: Policy
    """Images of one colour, or nearly."""

    blank_std: NonNegative
    """Blank is what deviates less than this from its mean, in grey levels of 255, at 32 x 32."""

    dark: Policy
    """Images whose brightest parts are far darker than those of the rest, by max_deviations."""

    bright: Policy
    """Images whose darkest parts are far brighter than those of the rest, by max_deviations."""

    low_information: Policy
    """Images with far fewer different grey levels than the rest, by max_deviations."""

    blurred: Policy
    """Images whose sharpest edges are far wider than those of the rest, by max_deviations."""

    max_deviations: Positive
    """Standard deviations, robustly estimated, from the median of all images and from that of the class. An
    image beyond both is dark, bright, blurred, of low information or of extreme size or shape."""

    extreme_size: Policy
    """Images with a side below min_side_px or above max_side_px, or of another size than the rest by
    max_deviations."""

    min_side_px: PositiveCount
    """A shorter side is an extreme size."""

    max_side_px: PositiveCount
    """A longer side is an extreme size."""

    extreme_shape: Policy
    """Images whose longer side is more than max_aspect_ratio times the shorter one, or of another shape than
    the rest by max_deviations."""

    max_aspect_ratio: AtLeastOne
    """Longer side divided by shorter side; more is an extreme shape."""

    tiny_class: Policy
    """Classes of fewer than min_class_images images; exclude leaves the whole class out."""

    min_class_images: Count
    """A class of fewer images is tiny."""

    imbalance: Literal["ignore", "warn", "error"]
    """The largest class holding more than max_imbalance times the images of the smallest."""

    max_imbalance: AtLeastOne
    """Images of the largest class for one of the smallest; more is an imbalance."""
