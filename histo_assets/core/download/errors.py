"""What goes wrong when something is fetched."""


class DownloadError(ValueError):
    """Something that cannot be fetched: the message names it, what the server did, and the way out."""
