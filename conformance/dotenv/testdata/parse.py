# Reads a JSON array of texts and writes what python-dotenv makes of each.
import io
import json
import sys

import dotenv


def parse(text):
    return {"values": dotenv.dotenv_values(stream=io.StringIO(text))}


json.dump([parse(text) for text in json.load(sys.stdin)], sys.stdout)
