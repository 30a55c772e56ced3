"""What `st` is told beside the description: half of the paths that it makes up name what is there."""

import os

import schemathesis

THERE = dict(pair.split("=", 1) for pair in os.environ.get("THERE", "").split() if "=" in pair)


@schemathesis.hook
def map_path_parameters(context, path_parameters):
    if path_parameters and len(repr(path_parameters)) % 2:
        return {name: THERE.get(name, value) for name, value in path_parameters.items()}
    return path_parameters
