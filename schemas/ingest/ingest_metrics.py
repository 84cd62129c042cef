"""What ingest counted: data/counts/ingest.json."""

from schemas.shared.fields import Count, Schema
from schemas.shared.inputs import Fingerprint


class IngestMetrics(Schema):
    """Files of the source by what became of them."""

    num_images: Count
    """Files that could be decoded."""

    num_undecodable: Count

    num_not_an_image: Count
    """Files that are no images, by their suffix or their first bytes."""

    num_outside_classes: Count
    """Images outside the class folders."""

    num_not_in_table: Count
    """Images that the table of labels does not name."""

    num_hidden: Count
    """Files whose names, or whose folders' names, begin with a dot."""

    num_system_files: Count
    """Files that operating systems leave behind, such as Thumbs.db and all in __MACOSX."""

    fingerprint: Fingerprint
    """Of what the stage was run on: parameters, code and data."""
