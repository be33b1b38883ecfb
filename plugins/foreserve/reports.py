"""Where reports are kept for people to open: a folder here, or in Cloud Storage."""

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

_CLOUD_STORAGE = "gs://"


@dataclass(frozen=True, slots=True)
class Reports:
    """A folder of reports.

    Attributes:
        folder: a path, or gs://BUCKET/FOLDER.
        url: where a browser finds it; None: at file:, or in the Google Cloud console's storage browser.
        gcp_conn_id: the Airflow connection to Google Cloud.
    """

    folder: str
    url: str | None
    gcp_conn_id: str

    def write(self, name: str, page: str) -> str:
        """Write an HTML page; return the address at which a person opens it.

        Args:
            name: its path in the folder.
            page: its content.
        """
        folder = self.folder.rstrip("/")
        if folder.startswith(_CLOUD_STORAGE):
            from airflow.providers.google.cloud.hooks.gcs import GCSHook

            bucket, _, prefix = f"{folder.removeprefix(_CLOUD_STORAGE)}/{name}".partition("/")
            GCSHook(gcp_conn_id=self.gcp_conn_id).upload(bucket, prefix, data=page, mime_type="text/html")
            default = f"https://storage.cloud.google.com/{bucket}/{quote(prefix)}"
        else:
            path = Path(folder, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(page)
            default = path.absolute().as_uri()
        return f"{self.url.rstrip('/')}/{quote(name)}" if self.url else default
