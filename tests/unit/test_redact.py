"""Redaction: no spelling of a secret survives, and what is no secret does."""

from __future__ import annotations

import json

import pytest

from slipway.redact import redact, redact_text

KEY = "s3cr3t/+key=="


@pytest.mark.parametrize(
    "text",
    [
        f"plain {KEY} twice {KEY}",
        f"server_args=ServerArgs(port=1, api_key='{KEY}', admin_api_key='{KEY}')",
        json.dumps({"api_key": KEY, "launch_command": f"--api-key {KEY}"}),
        "percent s3cr3t%2F%2Bkey%3D%3D",
    ],
)
def test_a_known_value_is_removed_in_every_spelling(text: str) -> None:
    cleaned = redact_text(text, [KEY])
    assert "s3cr3t" not in cleaned
    assert "[redacted]" in cleaned


@pytest.mark.parametrize(
    "text",
    [
        "ServerArgs(api_key='unknown-value')",
        'x "admin_api_key": "unknown-value", "y": 1',
        "Authorization: Bearer unknown-value",
        "python -m sglang --api-key unknown-value --port 1",
        "python -m sglang --api-key=unknown-value",
        "['--api-key', 'unknown-value']",
        '["--admin-api-key", "unknown-value"]',
    ],
)
def test_an_unknown_value_is_removed_where_a_key_stands(text: str) -> None:
    assert "unknown-value" not in redact_text(text)


@pytest.mark.parametrize("token", ["hf_" + "aB3" * 11, "ak-" + "x1Y" * 8, "as-" + "x1Y" * 8])
def test_tokens_are_known_by_their_form(token: str) -> None:
    assert token not in redact_text(f"using {token} now")


@pytest.mark.parametrize(
    "text",
    [
        "api_key=None, admin_api_key=None",
        '"api_key": null',
        "the bearer of this",
        "max_total_tokens=65536",
        "as-is",
        "hf_transfer",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert redact_text(text, ["", "a"]) == text


def test_one_secret_inside_another_leaves_no_rest() -> None:
    assert redact_text("abcdefgh", ["abcd", "abcdefgh"]) == "[redacted]"


def test_a_tree_is_cleaned_at_every_depth_and_numbers_stay() -> None:
    info = {
        "api_key": "x",
        "admin_api_key": None,
        "max_total_num_tokens": 7924864,
        "tokenizer_path": "/models/glm",
        "eos_token": "</s>",
        "hf_token": "short",
        "headers": {"Authorization": "Basic eHg6eXk="},
        "internal_states": [{"api_key": "x", "kv_cache_dtype": "bfloat16", "note": f"uses {KEY}"}],
        "launch_command": ["serve", "--api-key", "x", "--port", 1],
    }
    assert redact(info, [KEY]) == {
        "api_key": "[redacted]",
        "admin_api_key": None,
        "max_total_num_tokens": 7924864,
        "tokenizer_path": "/models/glm",
        "eos_token": "</s>",
        "hf_token": "[redacted]",
        "headers": {"Authorization": "[redacted]"},
        "internal_states": [{"api_key": "[redacted]", "kv_cache_dtype": "bfloat16", "note": "uses [redacted]"}],
        "launch_command": ["serve", "--api-key", "[redacted]", "--port", 1],
    }


def test_empty_lists_stay() -> None:
    """SGLang's /server_info has some."""
    assert redact({"allowed_local_media_path": [], "internal_states": [{"prefill": ()}]}) == {
        "allowed_local_media_path": [],
        "internal_states": [{"prefill": []}],
    }
