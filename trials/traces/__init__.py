"""Released runs of the reference layout: read, repaired, checked. Files are only read here."""
