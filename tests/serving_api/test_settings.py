"""The settings, and the errors of invalid ones."""

import subprocess
import sys

import pytest
from pydantic import Field, SecretStr

from serving_api.settings import Settings


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    monkeypatch.setenv("SERVING_PROJECT", "p")
    monkeypatch.setenv("SERVING_INSTANCE", "i")
    return monkeypatch


def test_the_environment_sets_them(environment):
    environment.setenv("SERVING_MAX_BATCH", "10")
    settings = Settings.from_environment()
    assert (settings.project, settings.instance, settings.app_profile, settings.max_batch) == ("p", "i", "", 10)


def test_missing_settings_are_named(environment):
    environment.delenv("SERVING_PROJECT")
    environment.delenv("SERVING_INSTANCE")
    with pytest.raises(ValueError, match="SERVING_PROJECT is not set; set it to the Google Cloud project") as error:
        Settings.from_environment()
    assert "SERVING_INSTANCE is not set" in str(error.value)


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("SERVING_DEADLINE_SECONDS", "0", "SERVING_DEADLINE_SECONDS .* is '0': input should be greater than 0"),
        ("SERVING_DEADLINE_SECONDS", "inf", "SERVING_DEADLINE_SECONDS .* is 'inf': .*finite"),
        ("SERVING_MAX_IN_FLIGHT", "many", "SERVING_MAX_IN_FLIGHT .* is 'many': .* integer"),
        ("SERVING_MAX_BATCH", "5000", r"SERVING_MAX_BATCH \(5000\) is above SERVING_MAX_IN_FLIGHT"),
        ("SERVING_AUTH", "password", "SERVING_AUTH .* is 'password': .*'api_keys'"),
        ("SERVING_AUTH", "api_keys", "SERVING_AUTH is api_keys, and SERVING_CALLERS_FILE is not set"),
    ],
)
def test_invalid_values_are_named(environment, variable, value, message):
    environment.setenv(variable, value)
    with pytest.raises(ValueError, match=message):
        Settings.from_environment()


def test_a_renamed_setting_is_refused_with_its_new_name(environment):
    environment.setenv("SERVING_MAX_READS_PER_LANE", "8")
    with pytest.raises(ValueError, match="SERVING_MAX_READS_PER_LANE is now SERVING_MAX_KEYS_PER_VERSION"):
        Settings.from_environment()


def test_tokens_need_an_issuer_whose_keys_can_be_trusted(environment):
    environment.setenv("SERVING_AUTH", "jwt")
    environment.setenv("SERVING_CALLERS_FILE", "callers.json")
    for variable, value in (
        ("SERVING_JWT_ISSUER", "https://accounts.google.com"),
        ("SERVING_JWT_AUDIENCE", "https://foreserve.example"),
        ("SERVING_JWT_KEYS_URL", "http://keys.example/certs"),
    ):
        with pytest.raises(ValueError, match=f"SERVING_AUTH is jwt, and {variable} is not set"):
            Settings.from_environment()
        environment.setenv(variable, value)
    with pytest.raises(ValueError, match="use https://, because anybody could change keys"):
        Settings.from_environment()
    for url in ("https://keys.example/certs", "http://127.0.0.1:8080/certs", "http://localhost/certs"):
        environment.setenv("SERVING_JWT_KEYS_URL", url)
        assert Settings.from_environment().jwt_keys_url == url


def test_the_log_has_all_settings_but_secrets():
    class WithSecrets(Settings):
        key: SecretStr = SecretStr("the key")
        hidden: str = Field(default="hidden too", repr=False)

    shown = WithSecrets.from_environment().for_the_log()
    assert (shown["project"], shown["max_batch"]) == ("p", 1000)
    assert shown.keys() == WithSecrets.model_fields.keys() - {"hidden"}
    assert "the key" not in str(shown)


def test_the_help_of_the_command_has_all_settings():
    command = [sys.executable, "-m", "serving_api", "--help"]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    for name, field in Settings.model_fields.items():
        assert f"SERVING_{name.upper()} (" in text
        assert field.description in text
    assert "SERVING_PROJECT (required)" in text
    assert "SERVING_AUTH (none)" in text
    assert "SERVING_MAX_BATCH (1000)" in text
