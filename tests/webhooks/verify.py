"""Checks one signed webhook with implementations that are not ours.

Reads {"headers", "body", "secret", "schema"} from standard input; verifies the signature with the
Standard Webhooks reference library, and the body against its JSON Schema. With `secret` null only the
shapes of several "bodies" are checked. Exit code 1 and a line
on standard error when something does not hold.
"""

import json
import sys

import jsonschema
from standardwebhooks.webhooks import Webhook


def main() -> int:
    case = json.load(sys.stdin)
    try:
        if case["secret"] is None:
            bodies = [json.loads(body) for body in case["bodies"]]
        else:
            bodies = [Webhook(case["secret"]).verify(case["body"], case["headers"])]
        validator = jsonschema.validators.validator_for(case["schema"])
        validator.check_schema(case["schema"])
        checker = validator.FORMAT_CHECKER
        for body in bodies:
            validator(case["schema"], format_checker=checker).validate(body)
    except jsonschema.ValidationError as error:
        print(f"schema: {error.message} at {error.json_path}", file=sys.stderr)
        return 1
    except Exception as error:  # whatever it is, the message failed
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
