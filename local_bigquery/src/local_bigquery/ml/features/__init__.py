"""Features: from columns to a matrix."""
