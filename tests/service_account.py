"""The key of a service account that exists nowhere."""

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat


def service_account_key(token_uri):
    """A key as Google's clients read it from a file."""
    key = rsa.generate_private_key(65537, 2048).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return {
        "type": "service_account",
        "project_id": "shop-predictions",
        "private_key_id": "made-up",
        "private_key": key.decode(),
        "client_email": "ci@shop-predictions.iam.gserviceaccount.com",
        "client_id": "1",
        "token_uri": token_uri,
    }
