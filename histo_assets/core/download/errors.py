"""What goes wrong when something is fetched."""

from histo_assets.core.errors import HistoError


class DownloadError(HistoError):
    """Something that cannot be fetched: the message names it, what the server did, and the way out."""
