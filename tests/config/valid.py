"""Validates {"schema", "instance"} from standard input with a validator that is not ours.

Exit code 1 and a line on standard error when the instance does not fit.
"""

import json
import sys

import jsonschema

case = json.load(sys.stdin)
validator = jsonschema.validators.validator_for(case["schema"])
validator.check_schema(case["schema"])
errors = list(validator(case["schema"]).iter_errors(case["instance"]))
for error in errors:
    print(f"{error.json_path}: {error.message}", file=sys.stderr)
sys.exit(1 if errors else 0)
