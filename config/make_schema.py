"""Write schema.json, which editors use to complete and check a config: run by `make schema`."""

import json
from pathlib import Path

from detoxmerge.plan.config import Config


def schema() -> str:
    """The JSON schema of the config.

    Returns:
        JSON text.
    """
    return json.dumps(Config.model_json_schema(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    Path(__file__).with_name("schema.json").write_text(schema())
